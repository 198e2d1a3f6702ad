"""Runs one step of the calls in threads of its own. It knows nothing of images or models."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Generic, NamedTuple, TypeVar, TypeVarTuple

Arguments = TypeVarTuple("Arguments")
Returned = TypeVar("Returned")


class StageResult(NamedTuple, Generic[Returned]):
    """The value that the function returned, and the time for which the call waited for a thread."""

    value: Returned
    queue_s: float


class ThreadStage:
    """Runs at most as many functions at once as it has threads.

    Calls wait in the event loop and not in the executor's queue. A call that is cancelled while it waits leaves nothing
    behind that would keep its arguments alive.
    """

    def __init__(self, name: str, threads: int) -> None:
        self.threads = threads
        self.executor = ThreadPoolExecutor(threads, name)
        self.free = asyncio.Semaphore(threads)

    async def run(self, function: Callable[[*Arguments], Returned], *arguments: *Arguments) -> StageResult[Returned]:
        """Return the function's result. Raise whatever it raises. A cancelled call does not wait for its thread."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        await self.free.acquire()
        queue_s = loop.time() - began

        def release(_: Future[Any]) -> None:
            with suppress(RuntimeError):  # the loop was closed while the thread was still running
                loop.call_soon_threadsafe(self.free.release)

        future = self.executor.submit(function, *arguments)
        future.add_done_callback(release)
        return StageResult(await asyncio.wrap_future(future), queue_s)
