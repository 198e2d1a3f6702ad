"""Runs one step of the calls in threads of its own. It knows nothing of images or models."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Generic, NamedTuple, TypeVar, TypeVarTuple

from service.tracing.context import CURRENT

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
        answer: asyncio.Future[Returned] = loop.create_future()
        call = partial(function, *arguments)
        if CURRENT.get() is not None:  # so that log lines of the thread have the trace, too
            call = partial(copy_context().run, call)
        self.executor.submit(self.work, answer, call)
        return StageResult(await answer, queue_s)

    def work(self, answer: asyncio.Future[Returned], function: Callable[[], Returned]) -> None:
        """Call the function in a thread. The event loop is woken once, for the answer and for the next call."""
        try:
            settle = partial(answer.set_result, function())
        except BaseException as error:
            settle = partial(answer.set_exception, error)
        with suppress(RuntimeError):  # the loop was closed while the thread was still running
            answer.get_loop().call_soon_threadsafe(self.end, answer, settle)
        del settle  # an error refers to this frame; such a cycle would keep the images in memory

    def end(self, answer: asyncio.Future[Returned], settle: Callable[[], None]) -> None:
        """Answer a call, unless it has been cancelled, and let the next one have the thread."""
        self.free.release()
        if not answer.done():
            settle()
