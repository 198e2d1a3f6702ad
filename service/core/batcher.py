"""Groups concurrent calls into batches.

Knows nothing of images, models or torch: `run` is any coroutine from a key and a list to an equally long list.
Only items of one key share a batch. Time is the event loop's.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from service.errors import DeadlineExceeded

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Pending(Generic[Item, Result]):
    """An item whose turn has not come. Times are the event loop's, in seconds."""

    item: Item
    arrived: float
    expires: float
    answer: "asyncio.Future[Result]" = field(compare=False)


class Batcher(Generic[Key, Item, Result]):
    """One batch at a time; the next one is what has piled up meanwhile, the longest wait first.

    With `max_delay_s` a batch that is not full waits for more, counted from the arrival of its oldest item, as long
    as `has_upcoming()` says that something is on its way.
    """

    def __init__(
        self,
        run: Callable[[Key, list[Item]], Awaitable[list[Result]]],
        *,
        max_batch: int | Callable[[Key], int],
        max_delay_s: float = 0.0,
        has_upcoming: Callable[[], bool] = lambda: False,
    ) -> None:
        self.run, self.max_delay_s, self.has_upcoming = run, max_delay_s, has_upcoming
        self.max_batch: Callable[[Key], int] = max_batch if callable(max_batch) else lambda _: max_batch
        self.queues: dict[Key, deque[Pending[Item, Result]]] = {}
        self.arrival = asyncio.Event()

    @property
    def depth(self) -> int:
        """How many items wait."""
        return sum(map(len, self.queues.values()))

    async def submit(self, key: Key, item: Item, *, expires: float = float("inf")) -> Result:
        """The item's result. Cancel the call to abandon it. Raises DeadlineExceeded, and whatever `run` raises."""
        loop = asyncio.get_running_loop()
        waiting: Pending[Item, Result] = Pending(item, loop.time(), expires, loop.create_future())
        self.queues.setdefault(key, deque()).append(waiting)
        self.arrival.set()
        return await waiting.answer

    async def serve(self) -> None:
        """Runs batches until cancelled."""
        while True:
            key = await self.next_key()
            await self.wait_for_more(key)
            if batch := self.take(key):
                await self.execute(key, batch)

    async def next_key(self) -> Key:
        """The key whose first item has waited longest; waits until there is one."""
        while not self.queues:
            self.arrival.clear()
            await self.arrival.wait()
        return min(self.queues, key=lambda key: self.queues[key][0].arrived)

    async def wait_for_more(self, key: Key) -> None:
        """Gives a batch that is not full the configured time, while anything is on its way."""
        queue = self.queues[key]
        until = queue[0].arrived + self.max_delay_s
        try:
            async with asyncio.timeout_at(until):
                while (
                    len(queue) < self.max_batch(key)
                    and asyncio.get_running_loop().time() < until
                    and self.has_upcoming()
                ):
                    self.arrival.clear()
                    await self.arrival.wait()
        except TimeoutError:
            return

    def take(self, key: Key) -> list[Pending[Item, Result]]:
        """The next batch of that key, without what was abandoned or has expired."""
        queue = self.queues[key]
        batch: list[Pending[Item, Result]] = []
        now = asyncio.get_running_loop().time()
        while queue and len(batch) < self.max_batch(key):
            waiting = queue.popleft()
            if waiting.answer.done():
                continue
            if waiting.expires <= now:
                waiting.answer.set_exception(DeadlineExceeded("the deadline passed while the image waited"))
                continue
            batch.append(waiting)
        if not queue:
            del self.queues[key]
        return batch

    async def execute(self, key: Key, batch: list[Pending[Item, Result]]) -> None:
        """Runs one batch and hands out the results, or the one error to all."""
        try:
            results = await self.run(key, [waiting.item for waiting in batch])
            assert len(results) == len(batch), "run must answer each item"
        except Exception as error:  # whatever it is, it belongs to the callers
            for waiting in batch:
                if not waiting.answer.done():
                    waiting.answer.set_exception(error)
            return
        for waiting, result in zip(batch, results, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(result)
