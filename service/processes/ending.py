"""Waits for processes to end, and kills those that do not."""

import asyncio
import signal
import time
from collections.abc import Mapping

from service.processes.slot import ProcessSlot


async def wait_or_kill(
    slots: list[ProcessSlot], supervising: Mapping[str, asyncio.Task[None]], timeout_s: float, kill_now: asyncio.Event
) -> bool:
    """Wait for processes to end, and kill them after that time or at the event. Return whether they ended."""
    tasks = {supervising[slot.role] for slot in slots}
    killing = asyncio.create_task(kill_now.wait())
    until = time.monotonic() + timeout_s
    while pending := {task for task in tasks if not task.done()}:
        left_s = until - time.monotonic()
        if left_s <= 0 or killing.done():
            break
        await asyncio.wait({*pending, killing}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
    killing.cancel()
    for slot in slots:
        if not supervising[slot.role].done():
            slot.send(signal.SIGKILL)
    await asyncio.gather(*tasks, return_exceptions=True)
    return not pending


async def wait_until_set(event: asyncio.Event, seconds: float) -> None:
    """Return when the event is set, or after that time."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
