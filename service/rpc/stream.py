"""Many requests over one call, for any task. Each answer carries the id of its request; the order may differ."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

from google.protobuf.message import Message

from service.access import quotas
from service.core.call import Caller
from service.core.ids import ID_LIMIT, choose_id
from service.core.memory import MemoryAccount
from service.errors import QuotaExceeded, ServiceError
from service.pb.twins.v1 import twins_pb2 as pb
from service.rpc.answering import Answering
from service.rpc.closing import until
from service.tracing.tracer import NO_TRACER, Tracer

WIDTH = 64  # requests of a stream in flight, or answered and not fetched; then the stream stops reading


class Identified(Protocol):
    """A request with an id."""

    id: str


Request = TypeVar("Request", bound=Identified)
Item = TypeVar("Item", bound=Message)


@dataclass(frozen=True)
class Stream(Generic[Request, Item]):
    """The stream of one task."""

    answer: Callable[[Request, Caller], Awaitable[Any]]  # answers one request; raises ServiceError
    item: Callable[..., Item]  # the message with an id, and an answer or an error
    closing: asyncio.Event
    answering: Answering
    tracer: Tracer = NO_TRACER

    async def answers(
        self, requests: AsyncIterator[Request], caller: Caller, memory: MemoryAccount
    ) -> AsyncGenerator[Item, None]:
        """Yield the answers in the order in which they are ready. Answers that are not fetched count as memory."""
        ready: asyncio.Queue[Item | None] = asyncio.Queue()
        free_slots = asyncio.Semaphore(WIDTH)
        reading = asyncio.create_task(self.answer_all(requests, caller, ready, free_slots, memory))
        try:
            while (answer := await ready.get()) is not None:
                yield answer
                memory.release(answer.ByteSize())
                free_slots.release()  # until an answer is fetched, it takes a slot, and the client has to wait
            await reading  # raises its error, if there was one
        finally:
            reading.cancel()
            await asyncio.wait([reading])  # its answers use the memory account, which the caller closes next

    async def answer_all(
        self,
        requests: AsyncIterator[Request],
        caller: Caller,
        ready: "asyncio.Queue[Item | None]",
        free_slots: asyncio.Semaphore,
        memory: MemoryAccount,
    ) -> None:
        """Put an answer to each request into the queue, and None after the last one.

        A refusal beyond the client's share comes after a pause, in which it takes a slot and others are answered. A
        client that sends again at once is read no faster than WIDTH requests per pause.
        """

        async def answer(request: Request) -> None:
            self.answering.note_call()
            item, refused = await self.answer_one(request, caller)
            del request  # its image is not held during the pause
            if refused:
                await asyncio.sleep(quotas.PAUSE_S)
            memory.count(item.ByteSize())
            await self.answering.allowed()
            ready.put_nowait(item)

        try:
            async with asyncio.TaskGroup() as group:
                async for request in until(self.closing, requests):
                    await free_slots.acquire()
                    group.create_task(answer(request))
                    del request
        finally:
            ready.put_nowait(None)

    async def answer_one(self, request: Request, caller: Caller) -> tuple[Item, bool]:
        """Return the answer to one request, or its error, and whether the client has used up its share.

        The deadline of the request is its own, within that of the stream.
        """
        now = asyncio.get_running_loop().time()
        left_s = None if caller.timeout_s is None else caller.arrived + caller.timeout_s - now
        request_caller = replace(
            caller,
            request_id=choose_id(request.id),
            arrived=now,
            timeout_s=left_s,
            trace=self.tracer.again(caller.trace),
        )
        try:
            return self.item(id=request.id[:ID_LIMIT], result=await self.answer(request, request_caller)), False
        except ServiceError as error:
            message = pb.Error(code=error.code, detail=error.detail, retry_after=error.retry_after_s or 0)
            return self.item(id=request.id[:ID_LIMIT], error=message), isinstance(error, QuotaExceeded)
