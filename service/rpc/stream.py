"""Many requests over one call, whatever the task: answers carry their request's id and may overtake."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

from service.core.call import Caller
from service.core.ids import ID_LIMIT, choose_id
from service.errors import ServiceError
from service.pb.twins.v1 import twins_pb2 as pb
from service.rpc.closing import until

WIDTH = (
    64  # requests of one stream in work, or answered and not fetched; then reading waits, which slows the client down
)


class Identified(Protocol):
    """A request that carries an id."""

    id: str


Request = TypeVar("Request", bound=Identified)
Item = TypeVar("Item")


@dataclass(frozen=True)
class Stream(Generic[Request, Item]):
    """One task's stream."""

    answer: Callable[[Request, Caller], Awaitable[Any]]  # one request's; raises ServiceError
    item: Callable[..., Item]  # the message that holds an id, and an answer or an error
    closing: asyncio.Event

    async def overtaking(self, requests: AsyncIterator[Request], caller: Caller) -> AsyncIterator[Item]:
        """The answers to a stream's requests, in the order in which they are ready."""
        answers: asyncio.Queue[Item | None] = asyncio.Queue()
        places = asyncio.Semaphore(WIDTH)
        reading = asyncio.create_task(self.answer_all(requests, caller, answers, places))
        try:
            while (answer := await answers.get()) is not None:
                yield answer
                places.release()  # an answer keeps its place until the client fetches it
            await reading  # for its error, if it had one
        finally:
            reading.cancel()

    async def answer_all(
        self,
        requests: AsyncIterator[Request],
        caller: Caller,
        answers: "asyncio.Queue[Item | None]",
        places: asyncio.Semaphore,
    ) -> None:
        """Puts an answer to each request, and None behind the last one."""

        async def answer(request: Request) -> None:
            answers.put_nowait(await self.one(request, caller))

        try:
            async with asyncio.TaskGroup() as group:
                async for request in until(self.closing, requests):
                    await places.acquire()
                    group.create_task(answer(request))
        finally:
            answers.put_nowait(None)

    async def one(self, request: Request, caller: Caller) -> Item:
        """One request's answer or error; each has a deadline of its own, within the stream's."""
        now = asyncio.get_running_loop().time()
        left_s = None if caller.timeout_s is None else caller.arrived + caller.timeout_s - now
        asker = replace(caller, request_id=choose_id(request.id), arrived=now, timeout_s=left_s)
        try:
            return self.item(id=request.id[:ID_LIMIT], result=await self.answer(request, asker))
        except ServiceError as error:
            sent = pb.Error(code=error.code, detail=error.detail, retry_after=error.retry_after_s or 0)
            return self.item(id=request.id[:ID_LIMIT], error=sent)
