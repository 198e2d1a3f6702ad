"""The service `inference.GRPCInferenceService` over an engine."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc
from google.protobuf.json_format import ParseDict

from service.core.call import Caller, Outcome
from service.core.engine import Engine
from service.core.orders import Action, Requested
from service.errors import Unavailable
from service.oip import models, repository, statistics
from service.oip.inference import infer
from service.oip.messages import to_request, to_response
from service.pb.inference import grpc_service_pb2 as pb
from service.pb.inference import grpc_service_pb2_grpc as pb_grpc
from service.rpc.answering import Answering
from service.rpc.context import Context, error_status
from service.rpc.servicer import check_message
from service.rpc.stream import Stream

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name


class Servicer(pb_grpc.GRPCInferenceServiceServicer):
    """The service over an engine."""

    def __init__(self, engine: Engine, answering: Answering) -> None:
        self.engine = engine
        self.stream = Stream(self.answer, stream_response, engine.closing, answering, engine.tracer)

    # ------------------------------------------------------------------ server and models

    async def ServerLive(self, request: Any, context: Context) -> pb.ServerLiveResponse:  # noqa: ARG002, N802
        """Return that the process is alive."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Any, context: Context) -> pb.ServerReadyResponse:  # noqa: ARG002, N802
        """Return whether the service is ready."""
        return pb.ServerReadyResponse(ready=self.engine.ready)

    async def ServerMetadata(self, request: Any, context: Context) -> pb.ServerMetadataResponse:  # noqa: ARG002, N802
        """Return the name, version and extensions of the server."""
        return ParseDict(models.SERVER, pb.ServerMetadataResponse())

    async def ModelReady(self, request: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:  # noqa: N802
        """Return whether a model is ready."""
        async with self.described(request, context):
            served = self.engine.pool.cards.values()
            known = any(c.name == request.name and request.version in ("", c.version) for c in served)
            return pb.ModelReadyResponse(ready=known and self.engine.ready)
        raise AssertionError("error_status lets nothing through")

    async def ModelMetadata(  # noqa: N802
        self, request: pb.ModelMetadataRequest, context: Context
    ) -> pb.ModelMetadataResponse:
        """Return the inputs and outputs of a model."""
        async with self.described(request, context):
            card = self.engine.version(request.name, request.version)
            return ParseDict(models.metadata(card, self.engine.served()), pb.ModelMetadataResponse())
        raise AssertionError("error_status lets nothing through")

    async def ModelConfig(self, request: pb.ModelConfigRequest, context: Context) -> pb.ModelConfigResponse:  # noqa: N802
        """Return the configuration of a model."""
        async with self.described(request, context):
            card = self.engine.version(request.name, request.version)
            found = ParseDict(models.configuration(card, self.engine.settings), pb.ModelConfig())
            return pb.ModelConfigResponse(config=found)
        raise AssertionError("error_status lets nothing through")

    async def ModelStatistics(  # noqa: N802
        self, request: pb.ModelStatisticsRequest, context: Context
    ) -> pb.ModelStatisticsResponse:
        """Return what one model, or each, has done since the start."""
        async with self.described(request, context):
            name, version = request.name, request.version
            cards = [self.engine.version(name, version)] if name else self.engine.served()
            found = await asyncio.to_thread(statistics.of_models, [card.key for card in cards])
            return ParseDict(found, pb.ModelStatisticsResponse())
        raise AssertionError("error_status lets nothing through")

    async def RepositoryIndex(  # noqa: N802
        self, request: pb.RepositoryIndexRequest, context: Context
    ) -> pb.RepositoryIndexResponse:
        """Return all models."""
        async with self.described(request, context):
            found = await repository.index(self.engine, ready=request.ready)
            return ParseDict({"models": found}, pb.RepositoryIndexResponse())
        raise AssertionError("error_status lets nothing through")

    async def RepositoryModelLoad(  # noqa: N802
        self, request: pb.RepositoryModelLoadRequest, context: Context
    ) -> pb.RepositoryModelLoadResponse:
        """Load a model, if the service allows it."""
        async with self.ordered("load", request, context) as outcome:
            await repository.load(self.engine, outcome, request.model_name, parameters(request.parameters))
            return pb.RepositoryModelLoadResponse()
        raise AssertionError("error_status lets nothing through")

    async def RepositoryModelUnload(  # noqa: N802
        self, request: pb.RepositoryModelUnloadRequest, context: Context
    ) -> pb.RepositoryModelUnloadResponse:
        """Unload a model, if the service allows it."""
        async with self.ordered("unload", request, context) as outcome:
            await repository.unload(self.engine, outcome, request.model_name, parameters(request.parameters))
            return pb.RepositoryModelUnloadResponse()
        raise AssertionError("error_status lets nothing through")

    # ------------------------------------------------------------------ inference

    async def ModelInfer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:  # noqa: N802
        """Return the answer to a request."""
        async with error_status(context) as caller:
            return await self.answer(request, caller)
        raise AssertionError("error_status lets nothing through")

    async def ModelStreamInfer(  # noqa: N802
        self, requests: AsyncIterator[pb.ModelInferRequest], context: Context
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        """Yield the answers as they become ready, until the client has no more requests or the service stops."""
        async with error_status(context) as caller:
            with self.engine.admit(caller, "infer"):
                self.check_open()
            with self.engine.memory.open() as memory:
                async with aclosing(self.stream.answers(requests, caller, memory)) as responses:
                    async for response in responses:
                        yield response
            self.check_open()

    async def answer(self, request: pb.ModelInferRequest, caller: Caller) -> pb.ModelInferResponse:
        """Return the answer to a request. Raise ServiceError."""
        with self.engine.call(caller, "infer") as outcome:
            outcome.bytes_in = request.ByteSize()
            check_message(request)
            outcome.memory.reserve(outcome.bytes_in)
            response = to_response(await infer(self.engine, to_request(request), outcome))
            outcome.bytes_out = response.ByteSize()
        return response

    def check_open(self) -> None:
        """Raise Unavailable if streams have to end."""
        if self.engine.closing.is_set():
            raise Unavailable("the service is stopping; send the request to another instance")

    @asynccontextmanager
    async def described(self, request: object, context: Context) -> AsyncIterator[Outcome]:
        """Cover a call that describes models: count it, log it, and turn its errors into its status."""
        async with error_status(context) as caller:
            with self.engine.call(caller, "models") as outcome:
                check_message(request)
                yield outcome

    @asynccontextmanager
    async def ordered(self, action: Action, request: object, context: Context) -> AsyncIterator[Outcome]:
        """Cover a call that changes what is served, as `described` covers the others."""
        order = Requested(action, getattr(request, "model_name", ""))  # which a malformed message does not have
        async with error_status(context) as caller:
            with self.engine.call(caller, "control", order) as outcome:
                check_message(request)
                yield outcome


def parameters(given: Mapping[str, pb.ModelRepositoryParameter]) -> dict[str, Any]:
    """Return the parameters of an order."""
    return {name: getattr(each, each.WhichOneof("parameter_choice") or "string_param") for name, each in given.items()}


def stream_response(*, id: str, result: Any = None, error: Any = None) -> pb.ModelStreamInferResponse:  # noqa: A002
    """Return an item of a stream: an answer, or an error with the id of its request."""
    if result is not None:
        return pb.ModelStreamInferResponse(infer_response=result)
    return pb.ModelStreamInferResponse(error_message=error.detail, infer_response=pb.ModelInferResponse(id=id))


UNIMPLEMENTED = {
    **dict.fromkeys(
        (f"{kind}SharedMemory{call}" for kind in ("System", "Cuda") for call in ("Status", "Register", "Unregister")),
        "this service reads tensors from requests only, not from shared memory",
    ),
    "TraceSetting": "this service has no settings for traces",
    "LogSettings": "the log is configured when the service starts",
}
"""The methods that this service does not have, with the reason."""


def refusing(reason: str) -> Callable[..., Awaitable[None]]:
    """Return a method that answers UNIMPLEMENTED with the reason."""

    async def refuse(_: Servicer, request: object, context: Context) -> None:  # noqa: ARG001
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, reason)

    return refuse


for name, reason in UNIMPLEMENTED.items():
    setattr(Servicer, name, refusing(reason))


def add(engine: Engine, answering: Answering, server: grpc.aio.Server) -> str:
    """Add the service to a server. Return its name."""
    pb_grpc.add_GRPCInferenceServiceServicer_to_server(Servicer(engine, answering), server)  # type: ignore[no-untyped-call]
    return SERVICE
