"""Runs a function in a thread that does not keep the process from ending."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

Returned = TypeVar("Returned")


async def in_daemon_thread(function: Callable[[], Returned]) -> Returned:
    """Return what the function returns. Unlike `asyncio.to_thread`, the end of the process does not wait for it."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Returned] = loop.create_future()

    def settle(finish: Callable[[], None]) -> None:
        if not done.done():  # it is cancelled when the caller is
            finish()

    def work() -> None:
        finish: Callable[[], None]
        try:
            finish = partial(done.set_result, function())
        except Exception as error:
            finish = partial(done.set_exception, error)
        with suppress(RuntimeError):  # the event loop has ended
            loop.call_soon_threadsafe(settle, finish)

    threading.Thread(target=work, name="daemon", daemon=True).start()
    return await done
