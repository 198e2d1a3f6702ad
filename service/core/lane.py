"""Lanes of a device: queues whose batches run beside each other, each in threads of its own.

A batch cannot be interrupted, so on one lane a small image waits until a large one has ended. On a CPU the operating
system divides the cores among the threads of two lanes. A GPU has one lane, since batches beside each other only delay
each other there.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Generic

from service.core.batcher import Batcher, Item, Key, Result
from service.core.device import DeviceThreads


@dataclass(frozen=True)
class Lane(Generic[Key, Item, Result]):
    """A queue of samples, and the threads that run its batches."""

    batcher: Batcher[Key, Item, Result]
    threads: DeviceThreads = field(default_factory=DeviceThreads)


class Occupancy:
    """Lets the batches of all lanes run beside each other, or one batch alone."""

    def __init__(self) -> None:
        self.running = 0
        self.reserved = False  # by a batch that runs alone, or waits until the others have ended
        self.change = asyncio.Event()  # a batch ended

    @asynccontextmanager
    async def occupied(self, *, alone: bool) -> AsyncIterator[None]:
        """Wait until a batch may run, and count it until the block ends. None starts beside one that runs alone."""
        while self.reserved:
            await self.wait()
        self.reserved = alone
        try:
            while alone and self.running:
                await self.wait()
            self.running += 1
            try:
                yield
            finally:
                self.running -= 1
        finally:
            self.reserved = self.reserved and not alone
            self.change.set()

    async def wait(self) -> None:
        """Return when a batch has ended."""
        self.change.clear()
        await self.change.wait()
