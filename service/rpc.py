"""gRPC: unwraps requests, wraps answers. No rules live here."""

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

from service import errors
from service.engine import Answer, Call, Caller, Engine, Outcome
from service.errors import BadRequest, ServiceError, Unavailable
from service.ids import choose_id
from service.pb.twins.v1 import twins_pb2 as pb
from service.pb.twins.v1 import twins_pb2_grpc as pb_grpc
from twins.tasks import classify

STATUS: dict[type[ServiceError], grpc.StatusCode] = {
    errors.BadRequest: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.UnknownModel: grpc.StatusCode.NOT_FOUND,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Refused: grpc.StatusCode.UNAVAILABLE,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Cancelled: grpc.StatusCode.CANCELLED,
    errors.Internal: grpc.StatusCode.INTERNAL,
}

FRAMING_BYTES = 64 * 2**10  # beside the image in a message: our own refusal is to come before the library's
STREAM_WIDTH = 64  # requests of one stream in work at a time; then reading waits, which slows the client down
SERVICE = pb.DESCRIPTOR.services_by_name["Twins"].full_name

Context = grpc.aio.ServicerContext[Any, Any]


class Servicer(pb_grpc.TwinsServicer):
    """The service `twins.v1.Twins` over an engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def Classify(self, request: pb.ClassifyRequest, context: Context) -> pb.ClassifyResponse:  # noqa: N802
        """The best classes of one image."""
        async with refusing(context) as caller:
            return await self.classify(request, caller)
        raise AssertionError("refusing lets nothing through")

    async def ClassifyStream(  # noqa: N802
        self, requests: AsyncIterator[pb.ClassifyRequest], context: Context
    ) -> AsyncIterator[pb.ClassifyStreamResponse]:
        """Answers as they come. Ends when the client has no more to ask, or when the service stops."""
        async with refusing(context) as caller:
            self.engine.authenticate(caller.key)
            async for response in self.overtaking(requests, caller):
                yield response
            if self.engine.closing.is_set():
                raise Unavailable("the service is stopping; ask again elsewhere")

    async def ListModels(self, _: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:  # noqa: N802
        """The models served."""
        async with refusing(context) as caller:
            self.engine.authenticate(caller.key)
            return pb.ListModelsResponse(
                models=[
                    pb.Model(name=c.name, task=c.task, variant=c.variant, labels=[label.name for label in c.labels])
                    for c in self.engine.served()
                ]
            )
        raise AssertionError("refusing lets nothing through")

    async def classify(self, request: pb.ClassifyRequest, caller: Caller) -> pb.ClassifyResponse:
        """One image's answer. Raises ServiceError."""
        with self.engine.call(caller) as outcome:
            self.engine.authenticate(caller.key)
            self.engine.hold(outcome, len(request.image))
            return respond(request, await self.engine.predict_one(classify_call(request), outcome), outcome)

    async def overtaking(
        self, requests: AsyncIterator[pb.ClassifyRequest], caller: Caller
    ) -> AsyncIterator[pb.ClassifyStreamResponse]:
        """The answers to a stream's requests, in the order in which they are ready."""
        answers: asyncio.Queue[pb.ClassifyStreamResponse | None] = asyncio.Queue()
        reading = asyncio.create_task(self.answer_all(requests, caller, answers))
        try:
            while (answer := await answers.get()) is not None:
                yield answer
            await reading  # for its error, if it had one
        finally:
            reading.cancel()

    async def answer_all(
        self,
        requests: AsyncIterator[pb.ClassifyRequest],
        caller: Caller,
        answers: "asyncio.Queue[pb.ClassifyStreamResponse | None]",
    ) -> None:
        """Puts an answer to each request, and None behind the last one."""
        places = asyncio.Semaphore(STREAM_WIDTH)

        async def answer(request: pb.ClassifyRequest) -> None:
            answers.put_nowait(await self.stream_item(request, caller))
            places.release()

        try:
            async with asyncio.TaskGroup() as group:
                async for request in self.until_closing(requests):
                    await places.acquire()
                    group.create_task(answer(request))
        finally:
            answers.put_nowait(None)

    async def until_closing(self, requests: AsyncIterator[pb.ClassifyRequest]) -> AsyncIterator[pb.ClassifyRequest]:
        """The requests, up to the moment when the service stops."""
        closing = asyncio.create_task(self.engine.closing.wait())
        try:
            while True:
                reading = next_of(requests)
                await asyncio.wait({reading, closing}, return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    reading.cancel()
                    return
                if (request := reading.result()) is None:
                    return
                yield request
        finally:
            closing.cancel()

    async def stream_item(self, request: pb.ClassifyRequest, caller: Caller) -> pb.ClassifyStreamResponse:
        """One request's answer or error; each has a deadline of its own, within the stream's."""
        now = asyncio.get_running_loop().time()
        left_s = None if caller.timeout_s is None else caller.arrived + caller.timeout_s - now
        item = Caller(choose_id(request.id), "grpc", now, left_s, caller.key)
        try:
            return pb.ClassifyStreamResponse(id=request.id, result=await self.classify(request, item))
        except ServiceError as error:
            told = pb.Error(code=error.code, detail=error.detail, retry_after=error.retry_after_s or 0)
            return pb.ClassifyStreamResponse(id=request.id, error=told)


def next_of(requests: AsyncIterator[pb.ClassifyRequest]) -> "asyncio.Task[pb.ClassifyRequest | None]":
    """Reads one more request; None at the end."""

    async def read() -> pb.ClassifyRequest | None:
        return await anext(aiter(requests), None)

    return asyncio.create_task(read())


def classify_call(request: pb.ClassifyRequest) -> Call:
    """What a client asks for. Raises BadRequest."""
    try:
        options = classify.Options(top_k=request.top_k) if request.HasField("top_k") else classify.Options()
    except ValueError as error:
        raise BadRequest(str(error)) from error
    return Call("classify", (request.image,) if request.image else (), options, request.model or None)


def respond(request: pb.ClassifyRequest, answer: Answer, outcome: Outcome) -> pb.ClassifyResponse:
    """A result as a message."""
    timing = answer.timing
    return pb.ClassifyResponse(
        id=request.id,
        model=outcome.model,
        predictions=[
            pb.Prediction(label=p.label, class_id=p.class_id, score=p.score, synset=p.synset or "")
            for p in answer.result.predictions
        ],
        timing=pb.Timing(
            decode=timing.decode,
            preprocess=timing.preprocess,
            queue=timing.queue,
            infer=timing.infer,
            postprocess=timing.postprocess,
        ),
    )


@asynccontextmanager
async def refusing(context: Context) -> AsyncIterator[Caller]:
    """Who calls; ServiceErrors raised inside become the call's status, with the code and the id beside it."""
    caller = caller_of(context)
    try:
        yield caller
    except ServiceError as error:
        await refuse(context, error, caller)
    context.set_trailing_metadata((("x-request-id", caller.request_id),))


async def refuse(context: Context, error: ServiceError, caller: Caller) -> NoReturn:
    """Ends a call with an error's status."""
    trailing = [("x-request-id", caller.request_id), ("twins-code", error.code)]
    if error.retry_after_s is not None:
        trailing.append(("retry-after", str(error.retry_after_s)))
    await context.abort(status(error), error.detail, tuple(trailing))


def status(error: ServiceError) -> grpc.StatusCode:
    """The nearest ancestor's status."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def caller_of(context: Context) -> Caller:
    """Who calls: id and key from the metadata, the deadline from the call itself."""
    metadata = {str(name): str(value) for name, value in context.invocation_metadata() or ()}
    scheme, _, token = metadata.get("authorization", "").partition(" ")
    left_s = context.time_remaining()
    return Caller(
        choose_id(metadata.get("x-request-id", "")),
        "grpc",
        asyncio.get_running_loop().time(),
        left_s if left_s is not None and math.isfinite(left_s) else None,
        token.strip() if scheme.lower() == "bearer" else metadata.get("x-api-key"),
    )


class Server:
    """The gRPC server with health and reflection."""

    def __init__(self, engine: Engine) -> None:
        limit = engine.settings.max_image_bytes + FRAMING_BYTES
        self.server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", limit),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 1),
            ]
        )
        self.health = HealthServicer()
        self.tasks: set[asyncio.Task[None]] = set()
        pb_grpc.add_TwinsServicer_to_server(Servicer(engine), self.server)  # type: ignore[no-untyped-call]
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)
        reflection.enable_server_reflection(tuple(names()), self.server)
        engine.on_ready_change.append(self.show_ready)

    async def start(self, host: str, port: int) -> None:
        """Listens; not ready until the engine says so."""
        await self.set_health(ready=False)
        self.server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        await self.server.start()

    def show_ready(self, ready: bool) -> None:  # noqa: FBT001 - a callback
        """Health follows readiness."""
        task = asyncio.create_task(self.set_health(ready=ready))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def set_health(self, *, ready: bool) -> None:
        """For the whole server and for the service by name."""
        word = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", SERVICE):
            await self.health.set(name, word)

    async def stop(self, grace_s: float) -> None:
        """Takes no new calls and ends when those in flight are answered."""
        await self.server.stop(grace_s)


def names() -> Iterator[str]:
    """The services to reflect."""
    yield SERVICE
    yield health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
    yield reflection.SERVICE_NAME
