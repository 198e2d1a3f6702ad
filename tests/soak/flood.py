"""Floods: many requests from a process of its own, so that the clients that measure are not slowed down by them."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

from bench.service.clients import Clients, measure
from bench.service.clients import Load as Flood


def paced(url: str, body: bytes, *, clients: int, rate: float, seconds: float) -> Flood:
    """Return what clients see that together send so many requests a second, or fewer if answers take longer."""
    interval_s = clients / rate

    async def repeat(made: Clients, first_s: float) -> None:
        due = made.began + first_s
        while due < made.began + seconds:
            await asyncio.sleep(due - time.perf_counter())
            await made.ask(due := max(due, time.perf_counter()))
            due += interval_s

    async def work(made: Clients) -> None:
        await asyncio.gather(*(repeat(made, number / rate) for number in range(clients)))

    return asyncio.run(measure(Clients([url], body), seconds, work))


class Flooder:
    """Runs floods, one at a time."""

    def __init__(self, executor: ProcessPoolExecutor) -> None:
        self.executor = executor

    def start(self, url: str, body: bytes, *, clients: int, rate: float, seconds: float) -> "Future[Flood]":
        """Start a flood."""
        return self.executor.submit(paced, url, body, clients=clients, rate=rate, seconds=seconds)


@contextmanager
def flooder() -> Iterator[Flooder]:
    """Yield what runs floods in a process that has started."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        executor.submit(time.monotonic).result()
        yield Flooder(executor)
