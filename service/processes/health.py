"""Watches whether workers that are alive still compute: a device can be dead while its process sends heartbeats."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable

from service import logs, metrics
from service.processes.slot import LATE_S, ProcessSlot
from service.settings import Settings

CHECK_S = 0.5

log = logs.get()


async def watch(
    workers: Callable[[], Iterable[ProcessSlot]], settings: Settings, publish: Callable[[], Awaitable[None]]
) -> None:
    """Publish the states of the workers whenever one stops or begins to compute, until cancelled."""
    while True:
        slept = time.monotonic()
        await asyncio.sleep(CHECK_S)
        if time.monotonic() - slept > LATE_S:  # heartbeats that arrived meanwhile are not read yet
            continue
        changed = [slot for slot in workers() if slot.ready and slot.stale_reason(settings) != slot.problem]
        for slot in changed:
            slot.problem = slot.stale_reason(settings)
            report(slot)
        if changed:
            await publish()


def report(slot: ProcessSlot) -> None:
    """Record that a worker counts as ready, or no longer does."""
    metrics.worker_up(slot.role, up=not slot.problem)
    if slot.problem:
        log.error("worker not ready", role=slot.role, reason=slot.problem)
    else:
        log.info("worker ready again", role=slot.role)
