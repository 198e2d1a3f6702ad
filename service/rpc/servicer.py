"""The service `twins.v1.Twins` over an engine."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from service.core.call import Answer, Call, Caller, Outcome
from service.core.engine import Engine
from service.core.ids import check_id
from service.errors import Unavailable
from service.pb.twins.v1 import twins_pb2 as pb
from service.pb.twins.v1 import twins_pb2_grpc as pb_grpc
from service.rpc.context import Context, error_status
from service.rpc.messages import classify_call, classify_response, segment_call, segment_response
from service.rpc.stream import Identified, Stream
from twins.card import Card

Request = TypeVar("Request", pb.ClassifyRequest, pb.SegmentRequest)
Response = TypeVar("Response")
StreamRequest = TypeVar("StreamRequest", bound=Identified)
Item = TypeVar("Item")


class Servicer(pb_grpc.TwinsServicer):
    """The service `twins.v1.Twins` over an engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.asked = time.monotonic()  # when the last call came
        self.answering = asyncio.Event()  # answers leave while it is set
        self.answering.set()
        self.classify_stream = Stream(self.classify, pb.ClassifyStreamResponse, engine.closing)
        self.segment_stream = Stream(self.segment, pb.SegmentStreamResponse, engine.closing)

    async def Classify(self, request: pb.ClassifyRequest, context: Context) -> pb.ClassifyResponse:  # noqa: N802
        """The best classes of one image."""
        async with error_status(context) as caller:
            return await self.classify(request, caller)
        raise AssertionError("error_status lets nothing through")

    async def Segment(self, request: pb.SegmentRequest, context: Context) -> pb.SegmentResponse:  # noqa: N802
        """A class for every pixel of one image."""
        async with error_status(context) as caller:
            return await self.segment(request, caller)
        raise AssertionError("error_status lets nothing through")

    async def ClassifyStream(  # noqa: N802
        self, requests: AsyncIterator[pb.ClassifyRequest], context: Context
    ) -> AsyncIterator[pb.ClassifyStreamResponse]:
        """Answers as they come. Ends when the client has no more to ask, or when the service stops."""
        async for response in self.stream(self.classify_stream, requests, context):
            yield response

    async def SegmentStream(  # noqa: N802
        self, requests: AsyncIterator[pb.SegmentRequest], context: Context
    ) -> AsyncIterator[pb.SegmentStreamResponse]:
        """As ClassifyStream."""
        async for response in self.stream(self.segment_stream, requests, context):
            yield response

    async def ListModels(self, _: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:  # noqa: N802
        """The models served."""
        async with error_status(context) as caller:
            with self.engine.call(caller):
                self.engine.authenticate(caller.key)
                return pb.ListModelsResponse(models=map(listed, self.engine.served()))
        raise AssertionError("error_status lets nothing through")

    async def classify(self, request: pb.ClassifyRequest, caller: Caller) -> pb.ClassifyResponse:
        """One image's classes. Raises ServiceError."""
        return await self.answer(request, caller, classify_call, classify_response)

    async def segment(self, request: pb.SegmentRequest, caller: Caller) -> pb.SegmentResponse:
        """One image's mask. Raises ServiceError."""
        return await self.answer(request, caller, segment_call, segment_response)

    async def answer(
        self,
        request: Request,
        caller: Caller,
        call: Callable[[Request], Call],
        respond: Callable[[Request, Answer, Outcome], Response],
    ) -> Response:
        """One image's answer, whatever the task. Raises ServiceError."""
        self.asked = time.monotonic()
        with self.engine.call(caller) as outcome:
            self.engine.authenticate(caller.key)
            check_id(request.id)
            outcome.memory.reserve(len(request.image))
            response = respond(request, await self.engine.predict_one(call(request), outcome), outcome)
        await self.answering.wait()
        return response

    async def stream(
        self, stream: Stream[StreamRequest, Item], requests: AsyncIterator[StreamRequest], context: Context
    ) -> AsyncIterator[Item]:
        """A stream's answers, and its end."""
        async with error_status(context) as caller:
            self.engine.authenticate(caller.key)
            async for response in stream.overtaking(requests, caller):
                yield response
            if self.engine.closing.is_set():
                raise Unavailable("the service is stopping; ask again elsewhere")


def listed(card: Card) -> pb.Model:
    """A model in the list."""
    return pb.Model(name=card.name, task=card.task, variant=card.variant, labels=[each.name for each in card.labels])
