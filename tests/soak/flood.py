"""Floods: many requests from a process of its own, so that the clients that measure are not slowed down by them."""

import asyncio
import itertools
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context

from bench.service.clients import Clients, measure, post
from bench.service.clients import Load as Flood


@dataclass(frozen=True)
class Target:
    """What each request of a flood is."""

    url: str
    body: bytes
    key: str = ""

    def clients(self) -> Clients:
        """Return clients that send it."""
        made = Clients([self.url], self.body)
        if self.key:
            request = post(self.url, self.body).replace(b"\r\n", f"\r\nX-API-Key: {self.key}\r\n".encode(), 1)
            made.requests = itertools.cycle([request])
        return made


@dataclass(frozen=True)
class Flooding:
    """How many clients send requests, and for how long: each sends its next one when the last one is answered.

    With a rate, they together send so many requests a second, or fewer if answers take longer.
    """

    target: Target
    clients: int
    seconds: float
    rate: float | None = None

    def run(self) -> Flood:
        """Return what the clients see."""
        return asyncio.run(measure(self.target.clients(), self.seconds, self.send))

    def send(self, made: Clients) -> Coroutine[None, None, None]:
        """Send the requests."""
        return made.closed(self.clients, self.seconds) if self.rate is None else self.send_at_rate(made, self.rate)

    async def send_at_rate(self, made: Clients, rate: float) -> None:
        async def repeat(due: float) -> None:
            while due < made.began + self.seconds:
                await asyncio.sleep(due - time.perf_counter())
                await made.ask(due := max(due, time.perf_counter()))
                due += self.clients / rate

        await asyncio.gather(*(repeat(made.began + number / rate) for number in range(self.clients)))


@dataclass(frozen=True)
class Flooder:
    """Runs floods, one at a time."""

    executor: ProcessPoolExecutor

    def start(self, flooding: Flooding) -> "Future[Flood]":
        """Start a flood."""
        return self.executor.submit(flooding.run)


@contextmanager
def flooder() -> Iterator[Flooder]:
    """Yield what runs floods in a process that has started."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        executor.submit(Target, "http://127.0.0.1", b"").result()  # imports this module there
        yield Flooder(executor)
