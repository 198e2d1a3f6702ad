"""Runs a blank sample when no batch has succeeded for a while, so that a dead device is noticed without requests."""

import asyncio
import math

from service import logs
from service.core.local import Key, LocalPool
from twins.card import Card
from twins.tasks import TASKS

TOLERATED = 1  # failures in a row, since the memory of a device may be short for a moment

log = logs.get()


class Canary:
    """The canary of the models on one device. It runs in a batch of its own, in turns with those of the models."""

    def __init__(self, pool: LocalPool, interval_s: float) -> None:
        self.pool, self.interval_s = pool, interval_s
        self.began = self.failed = -math.inf  # when the last canary began, and failed; times of the event loop
        self.failures = 0  # in a row

    @property
    def has_failed(self) -> bool:
        """Return whether more canaries in a row have failed than are tolerated, and no batch has succeeded since."""
        return self.failures > TOLERATED and self.pool.succeeded < self.failed

    async def run(self) -> None:
        """Run a canary whenever no batch has succeeded for the interval, until cancelled."""
        loop = asyncio.get_running_loop()
        self.pool.succeeded = max(self.pool.succeeded, loop.time())  # the warm-up
        while True:
            wait_s = max(self.pool.succeeded, self.began) + self.interval_s - loop.time()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            else:
                await self.try_once()

    async def try_once(self) -> None:
        """Run one canary, and count it if it fails. Without a model there is nothing to run, and nothing that fails."""
        loop = asyncio.get_running_loop()
        self.began = loop.time()
        if (card := smallest(self.pool)) is None:
            self.pool.succeeded = loop.time()
            return
        sample = TASKS[card.task].blank(card)
        answer = self.pool.start(Key(card.key, sample.layout, canary=True), sample, expires=math.inf)
        await asyncio.wait({answer})
        if self.pool.succeeded < self.began and card.key in self.pool.models:
            self.count_failure(answer.exception())

    def count_failure(self, error: BaseException | None) -> None:
        """Count a canary that has failed. Without an error the device had no memory for it."""
        self.failures = self.failures + 1 if self.pool.succeeded < self.failed else 1
        self.failed = asyncio.get_running_loop().time()
        log.warning("canary failed", in_a_row=self.failures, detail=str(error or "the device has no memory"))


def smallest(pool: LocalPool) -> Card | None:
    """Return the card of the model with the fewest parameters, the first one if they are not known."""
    return min(pool.cards.values(), key=lambda card: card.parameters or 0, default=None)
