"""Groups concurrent calls into batches, and lets the groups of a device take turns.

Knows nothing of images, models or torch: `run` is any coroutine from a key and a list to an equally long list.
Only items of one key share a batch; keys of one group share their turns. Time is the event loop's.
"""

import asyncio
import math
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from service.errors import DeadlineExceeded

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
Result = TypeVar("Result")

USUAL_PRIORITY = 2  # 1 is the highest


@dataclass(frozen=True)
class Pending(Generic[Item, Result]):
    """An item that waits for its batch. Times are the event loop's, in seconds."""

    item: Item
    arrived: float
    expires: float
    priority: int
    answer: "asyncio.Future[Result]" = field(compare=False)


def insert(queue: deque[Pending[Item, Result]], pending: Pending[Item, Result]) -> None:
    """Put an item behind those of the same or a lower number of priority, of which nearly all queues have one only."""
    place = len(queue)
    while place and queue[place - 1].priority > pending.priority:
        place -= 1
    queue.insert(place, pending)


class Turns:
    """Fair turns by device time: next is the waiting group that has used the least.

    A group that was idle joins at the level of the waiting group that has used the least, so that idle time gains it no
    credit. If several groups have used the same, the one that has waited longest is next. A group that joins therefore
    waits for the running batch and at most one batch of each other group.
    """

    def __init__(self) -> None:
        self.used_s: dict[Hashable, float] = {}
        self.clock_s = 0.0  # what the group of the last turn had used when its turn started
        self.active: set[Hashable] = set()  # groups with an item that waits or runs
        self.joined: set[Hashable] = set()  # of these, the ones that were idle at the last choice

    def join(self, group: Hashable) -> None:
        """Note that a group has work. If it was idle, it is placed among the others at the next choice."""
        if group not in self.active:
            self.active.add(group)
            self.joined.add(group)

    def choose(self, waiting: Mapping[Hashable, float]) -> Hashable:
        """Return the next group, of groups with the time since when each waits."""
        joined = self.joined & waiting.keys()
        least_s = min((self.used_s[group] for group in waiting if group not in joined), default=0.0)
        for group in joined:
            self.used_s[group] = max(self.used_s.get(group, 0.0), self.clock_s, least_s)
        self.joined -= joined
        return min(waiting, key=lambda group: (self.used_s[group], waiting[group]))

    def start(self, group: Hashable, *, waiting: Collection[Hashable]) -> None:
        """Give the group its turn, while others wait or run."""
        self.clock_s = max(self.clock_s, self.used_s[group])
        self.active = {group, *waiting}
        # An idle group that has used less starts at the clock anyway, so it needs no entry.
        self.used_s = {other: s for other, s in self.used_s.items() if other in self.active or s > self.clock_s}

    def end(self, group: Hashable, duration_s: float) -> None:
        """Charge the group for its turn."""
        self.used_s[group] += duration_s


class Batcher(Generic[Key, Item, Result]):
    """Runs one batch after another; the next one is what has arrived meanwhile.

    A device that can hold several batches runs them in order. A further batch starts before the running one ends only
    if it is full: a batch that is not full would gain no time on the device, and can still grow.

    With `max_delay_s` a batch that is not full waits for more, counted from the arrival of its oldest item, as long
    as `has_upcoming()` says that something is on its way. Batches of other keys run meanwhile.
    """

    def __init__(
        self,
        run: Callable[[Key, list[Item]], Awaitable[list[Result]]],
        *,
        max_batch: int | Callable[[Key], int],
        max_delay_s: float | Callable[[Key], float] = 0.0,
        has_upcoming: Callable[[], bool] = lambda: False,
        group: Callable[[Key], Hashable] = lambda key: key,
    ) -> None:
        self.run, self.has_upcoming, self.group = run, has_upcoming, group
        self.max_delay_s: Callable[[Key], float] = max_delay_s if callable(max_delay_s) else lambda _: max_delay_s
        self.max_batch: Callable[[Key], int] = max_batch if callable(max_batch) else lambda _: max_batch
        self.queues: dict[Key, deque[Pending[Item, Result]]] = {}
        self.turns = Turns()
        self.running: list[Key] = []  # the keys of the batches on the device, in order
        self.ended = -math.inf  # when the last batch ended
        self.change = asyncio.Event()  # an item arrived, or a batch ended

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

    def submit(
        self, key: Key, item: Item, *, expires: float = math.inf, priority: int = USUAL_PRIORITY
    ) -> "asyncio.Future[Result]":
        """Return the future of the item's result. Cancel it to abandon the item.

        An item runs before those of its group whose `priority` is a higher number; groups take turns whatever the
        priorities of their items. It raises DeadlineExceeded, and whatever `run` raises.
        """
        loop = asyncio.get_running_loop()
        pending: Pending[Item, Result] = Pending(item, loop.time(), expires, priority, loop.create_future())
        self.turns.join(self.group(key))
        insert(self.queues.setdefault(key, deque()), pending)
        self.change.set()
        return pending.answer

    async def serve(self, *, in_flight: int = 1) -> None:
        """Run batches until cancelled, at most `in_flight` at a time."""
        async with asyncio.TaskGroup() as runners:
            for _ in range(in_flight):
                runners.create_task(self.run_batches())

    async def run_batches(self) -> None:
        """Run batches one after another until cancelled."""
        while True:
            key = await self.next_key()
            if batch := self.take(key):
                await self.execute(key, batch)

    async def next_key(self) -> Key:
        """Return the key whose turn it is: of the group that is next, the one whose first item is the first of all."""
        while True:
            now = asyncio.get_running_loop().time()
            due = {key: self.due_at(key) for key in self.queues}
            if ready := sorted((key for key, at in due.items() if at <= now), key=self.arrived):
                oldest = {self.group(key): self.arrived(key) for key in reversed(ready)}
                group = self.turns.choose(oldest)
                key = min((key for key in ready if self.group(key) == group), key=self.rank)
                if self.may_start(key):
                    return key
            await self.wait_for_change(min((at for at in due.values() if at > now), default=None))

    def may_start(self, key: Key) -> bool:
        """Return whether a batch of that key may start now, beside those that run."""
        return not self.running or self.is_full(key)

    def is_full(self, key: Key) -> bool:
        """Return whether the items of that key fill a batch."""
        return len(self.queues[key]) >= self.max_batch(key)

    def arrived(self, key: Key) -> float:
        """Return when the oldest item of that key arrived."""
        return self.queues[key][0].arrived

    def rank(self, key: Key) -> tuple[int, float]:
        """Return what orders the keys of a group: the priority of the first item, and then its arrival."""
        first = self.queues[key][0]
        return first.priority, first.arrived

    def due_at(self, key: Key) -> float:
        """Return when a batch of that key need not wait for more items."""
        complete = self.is_full(key) or not self.has_upcoming()
        return -math.inf if complete else self.arrived(key) + self.max_delay_s(key)

    async def wait_for_change(self, until: float | None) -> None:
        """Return when an item arrives or a batch ends, or at that time."""
        self.change.clear()
        try:
            async with asyncio.timeout_at(until):
                await self.change.wait()
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
        self.turns.start(group, waiting={*self.waiting(), *map(self.group, self.running)})
        self.running.append(key)
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
            began, self.ended = max(began, self.ended), loop.time()  # the batch before it had the device until then
            self.running.remove(key)
            self.turns.end(group, self.ended - began)
            self.change.set()
        for pending, result in zip(batch, results, strict=True):
            if not pending.answer.done():
                pending.answer.set_result(result)
