"""The service `twins.v1.Twins` over an engine."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import TypeVar

from google.protobuf.message import Message

from service.core.call import Caller
from service.core.engine import Engine
from service.core.ids import check_id
from service.errors import BadRequest, Unavailable
from service.pb.twins.v1 import twins_pb2 as pb
from service.pb.twins.v1 import twins_pb2_grpc as pb_grpc
from service.rpc.answering import Answering
from service.rpc.context import Context, Malformed, error_status
from service.rpc.messages import to_call, to_response
from service.rpc.stream import Stream
from service.rpc.tasks.classify import CLASSIFY_CODEC
from service.rpc.tasks.codec import Codec
from service.rpc.tasks.detect import DETECT_CODEC
from service.rpc.tasks.embed import EMBED_CODEC
from service.rpc.tasks.segment import SEGMENT_CODEC
from twins.card import Card

Request = TypeVar("Request", pb.ClassifyRequest, pb.SegmentRequest, pb.DetectRequest, pb.EmbedRequest)
Response = TypeVar("Response", bound=Message)
Item = TypeVar("Item", bound=Message)


class Servicer(pb_grpc.TwinsServicer):
    """The service `twins.v1.Twins` over an engine."""

    def __init__(self, engine: Engine, answering: Answering) -> None:
        self.engine = engine
        self.classify_stream = Stream(
            partial(self.answer, CLASSIFY_CODEC), pb.ClassifyStreamResponse, engine.closing, answering, engine.tracer
        )
        self.segment_stream = Stream(
            partial(self.answer, SEGMENT_CODEC), pb.SegmentStreamResponse, engine.closing, answering, engine.tracer
        )
        self.detect_stream = Stream(
            partial(self.answer, DETECT_CODEC), pb.DetectStreamResponse, engine.closing, answering, engine.tracer
        )
        self.embed_stream = Stream(
            partial(self.answer, EMBED_CODEC), pb.EmbedStreamResponse, engine.closing, answering, engine.tracer
        )

    async def Classify(self, request: pb.ClassifyRequest, context: Context) -> pb.ClassifyResponse:  # noqa: N802
        """Return the best classes of one image."""
        return await self.respond(CLASSIFY_CODEC, request, context)

    async def Segment(self, request: pb.SegmentRequest, context: Context) -> pb.SegmentResponse:  # noqa: N802
        """Return a class for every pixel of one image."""
        return await self.respond(SEGMENT_CODEC, request, context)

    async def Detect(self, request: pb.DetectRequest, context: Context) -> pb.DetectResponse:  # noqa: N802
        """Return the objects in one image."""
        return await self.respond(DETECT_CODEC, request, context)

    async def Embed(self, request: pb.EmbedRequest, context: Context) -> pb.EmbedResponse:  # noqa: N802
        """Return the pooled features of one image."""
        return await self.respond(EMBED_CODEC, request, context)

    async def ClassifyStream(  # noqa: N802
        self, requests: AsyncIterator[pb.ClassifyRequest], context: Context
    ) -> AsyncIterator[pb.ClassifyStreamResponse]:
        """Yield answers as they become ready, until the client has no more requests or the service stops."""
        async for response in self.stream(self.classify_stream, requests, context):
            yield response

    async def SegmentStream(  # noqa: N802
        self, requests: AsyncIterator[pb.SegmentRequest], context: Context
    ) -> AsyncIterator[pb.SegmentStreamResponse]:
        """Yield answers as ClassifyStream does."""
        async for response in self.stream(self.segment_stream, requests, context):
            yield response

    async def DetectStream(  # noqa: N802
        self, requests: AsyncIterator[pb.DetectRequest], context: Context
    ) -> AsyncIterator[pb.DetectStreamResponse]:
        """Yield answers as ClassifyStream does."""
        async for response in self.stream(self.detect_stream, requests, context):
            yield response

    async def EmbedStream(  # noqa: N802
        self, requests: AsyncIterator[pb.EmbedRequest], context: Context
    ) -> AsyncIterator[pb.EmbedStreamResponse]:
        """Yield answers as ClassifyStream does."""
        async for response in self.stream(self.embed_stream, requests, context):
            yield response

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:  # noqa: N802
        """Return the models that are served."""
        async with error_status(context) as caller:
            with self.engine.call(caller, "models") as outcome:
                check_message(request)
                response = pb.ListModelsResponse(models=map(listed, self.engine.served()))
                outcome.bytes_out = response.ByteSize()
                return response
        raise AssertionError("error_status lets nothing through")

    async def respond(self, codec: Codec[Request, Response], request: Request, context: Context) -> Response:
        """Return the response to a call with one image; its errors become the call's status."""
        async with error_status(context) as caller:
            return await self.answer(codec, request, caller)
        raise AssertionError("error_status lets nothing through")

    async def answer(self, codec: Codec[Request, Response], request: Request, caller: Caller) -> Response:
        """Return the response to a request, whatever the task. Raises ServiceError."""
        with self.engine.call(caller, "infer") as outcome:
            outcome.bytes_in = request.ByteSize()
            check_message(request)
            check_id(request.id)
            outcome.memory.reserve(len(request.image))
            answer = await self.engine.predict_one(to_call(request, codec), outcome)
            response = to_response(request, answer, outcome, codec)
            outcome.bytes_out = response.ByteSize()
        return response

    async def stream(
        self, stream: Stream[Request, Item], requests: AsyncIterator[Request], context: Context
    ) -> AsyncIterator[Item]:
        """Yield the answers of a stream; its errors become the call's status."""
        async with error_status(context) as caller:
            with self.engine.admit(caller, "infer"):
                self.check_open()
            with self.engine.memory.open() as memory:
                async with aclosing(stream.answers(requests, caller, memory)) as responses:  # before the account ends
                    async for response in responses:
                        yield response
            self.check_open()

    def check_open(self) -> None:
        """Raise Unavailable if streams have to end."""
        if self.engine.closing.is_set():
            raise Unavailable("the service is stopping; send the request to another instance")


def check_message(request: object) -> None:
    """Raise BadRequest for a request that is not a message of its type."""
    if isinstance(request, Malformed):
        raise BadRequest("the request is not a valid protobuf message of this method")


def listed(card: Card) -> pb.Model:
    """Return the entry of a model in the list."""
    return pb.Model(
        name=card.name,
        task=card.task,
        variant=card.variant,
        labels=[each.name for each in card.labels],
        version=card.version,
    )
