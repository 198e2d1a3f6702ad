"""Groups concurrent calls into batches, and lets the groups of a device take turns.

Knows nothing of images, models or torch: `run` is any coroutine from a key and a list to an equally long list.
Only items of one key share a batch; keys of one group share their turns. Time is the event loop's.
"""

import asyncio
import math
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from service.errors import DeadlineExceeded

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Pending(Generic[Item, Result]):
    """An item that waits for its batch. Times are the event loop's, in seconds."""

    item: Item
    arrived: float
    expires: float
    answer: "asyncio.Future[Result]" = field(compare=False)


class Turns:
    """Fair turns by device time: start-time fair queueing, whose costs are known when a batch has ended.

    The group that has used the least device time is next. A group that was idle starts where the last turn started,
    so that it neither has credit for the time in which it asked for nothing nor waits for others to catch up.
    """

    def __init__(self) -> None:
        self.used_s: dict[Hashable, float] = {}
        self.start_s = 0.0  # what the group of the last turn had used when its turn started

    def position(self, group: Hashable) -> float:
        """Return the device time that the group counts with; the least is next."""
        return max(self.start_s, self.used_s.get(group, 0.0))

    def start(self, group: Hashable) -> None:
        """Give the group its turn."""
        self.start_s = self.position(group)
        # Groups that have used less count as if they had used as much, so only the others need an entry.
        self.used_s = {other: used_s for other, used_s in self.used_s.items() if used_s > self.start_s}

    def end(self, group: Hashable, duration_s: float) -> None:
        """Charge the group for its turn."""
        self.used_s[group] = self.start_s + duration_s


class Batcher(Generic[Key, Item, Result]):
    """Runs one batch at a time; the next one is what has arrived meanwhile.

    With `max_delay_s` a batch that is not full waits for more, counted from the arrival of its oldest item, as long
    as `has_upcoming()` says that something is on its way. Batches of other keys run meanwhile.
    """

    def __init__(
        self,
        run: Callable[[Key, list[Item]], Awaitable[list[Result]]],
        *,
        max_batch: int | Callable[[Key], int],
        max_delay_s: float = 0.0,
        has_upcoming: Callable[[], bool] = lambda: False,
        group: Callable[[Key], Hashable] = lambda key: key,
    ) -> None:
        self.run, self.max_delay_s, self.has_upcoming, self.group = run, max_delay_s, has_upcoming, group
        self.max_batch: Callable[[Key], int] = max_batch if callable(max_batch) else lambda _: max_batch
        self.queues: dict[Key, deque[Pending[Item, Result]]] = {}
        self.turns = Turns()
        self.arrival = asyncio.Event()

    @property
    def depth(self) -> int:
        """Return the number of items that wait."""
        return sum(map(len, self.queues.values()))

    def waiting(self) -> Counter[Hashable]:
        """Return how many items wait, by group."""
        counts: Counter[Hashable] = Counter()
        for key, queue in self.queues.items():
            counts[self.group(key)] += len(queue)
        return counts

    async def submit(self, key: Key, item: Item, *, expires: float = math.inf) -> Result:
        """Return the item's result. Cancel the call to abandon it.

        Raise DeadlineExceeded, and whatever `run` raises.
        """
        loop = asyncio.get_running_loop()
        pending: Pending[Item, Result] = Pending(item, loop.time(), expires, loop.create_future())
        self.queues.setdefault(key, deque()).append(pending)
        self.arrival.set()
        return await pending.answer

    async def serve(self) -> None:
        """Run batches until cancelled."""
        while True:
            key = await self.next_key()
            if batch := self.take(key):
                await self.execute(key, batch)

    async def next_key(self) -> Key:
        """Return the key whose turn it is: of the group that is next, the one whose first item has waited longest."""
        while True:
            now = asyncio.get_running_loop().time()
            due = {key: self.due_at(key) for key in self.queues}
            if ready := [key for key, at in due.items() if at <= now]:
                return min(ready, key=lambda key: (self.turns.position(self.group(key)), self.queues[key][0].arrived))
            await self.wait_for_arrival(min(due.values(), default=None))

    def due_at(self, key: Key) -> float:
        """Return when a batch of that key need not wait for more items."""
        queue = self.queues[key]
        complete = len(queue) >= self.max_batch(key) or not self.has_upcoming()
        return -math.inf if complete else queue[0].arrived + self.max_delay_s

    async def wait_for_arrival(self, until: float | None) -> None:
        """Return when an item arrives, or at that time."""
        self.arrival.clear()
        try:
            async with asyncio.timeout_at(until):
                await self.arrival.wait()
        except TimeoutError:
            return

    def take(self, key: Key) -> list[Pending[Item, Result]]:
        """Return the next batch of that key, without what was abandoned or has expired."""
        queue = self.queues[key]
        batch: list[Pending[Item, Result]] = []
        now = asyncio.get_running_loop().time()
        while queue and len(batch) < self.max_batch(key):
            pending = queue.popleft()
            if pending.answer.done():
                continue
            if pending.expires <= now:
                pending.answer.set_exception(DeadlineExceeded("the deadline passed while the image waited"))
                continue
            batch.append(pending)
        if not queue:
            del self.queues[key]
        return batch

    async def execute(self, key: Key, batch: list[Pending[Item, Result]]) -> None:
        """Run one batch and hand out the results, or the one error to all."""
        loop, group = asyncio.get_running_loop(), self.group(key)
        self.turns.start(group)
        began = loop.time()
        try:
            results = await self.run(key, [pending.item for pending in batch])
            assert len(results) == len(batch), "run must answer each item"
        except Exception as error:  # whatever it is, it belongs to the callers
            for pending in batch:
                if not pending.answer.done():
                    pending.answer.set_exception(error)
            return
        finally:
            self.turns.end(group, loop.time() - began)
        for pending, result in zip(batch, results, strict=True):
            if not pending.answer.done():
                pending.answer.set_result(result)
