"""The service `twins.v1.Twins` over an engine."""

import asyncio
from collections.abc import AsyncIterator

from service.call import Answer, Call, Caller, Outcome
from service.engine import Engine
from service.errors import BadRequest, ServiceError, Unavailable
from service.ids import choose_id
from service.pb.twins.v1 import twins_pb2 as pb
from service.pb.twins.v1 import twins_pb2_grpc as pb_grpc
from service.rpc.context import Context, refusing
from twins.tasks import classify

STREAM_WIDTH = 64  # requests of one stream in work at a time; then reading waits, which slows the client down


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
