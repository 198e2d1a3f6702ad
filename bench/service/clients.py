"""Clients for benchmarks over HTTP, lean enough to run beside the service on two cores.

A client is one connection on which requests follow one another. In closed loop, each client sends its next request
when the last one is answered. In open loop, requests arrive at a rate, at random times, whether or not earlier ones are
answered; the time of an answer counts from the time at which its request was due.
"""

import asyncio
import itertools
import resource
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from service.load.schedule import Open

END_OF_HEAD = b"\r\n\r\n"
LOST = 0  # the status of a request that got no answer


@dataclass(frozen=True)
class Answer:
    """One answer. Times are seconds since the interval began."""

    status: int
    due_s: float
    ended_s: float


@dataclass(frozen=True)
class Load:
    """The answers to the requests that some clients sent in an interval."""

    seconds: float  # of the interval
    answers: Sequence[Answer]  # some of them after the interval
    client_cpu_s: float = 0.0  # of this process

    def rate(self, *statuses: int) -> float:
        """Return the number of answers with one of these statuses per second of the interval."""
        return sum(a.status in statuses and a.ended_s <= self.seconds for a in self.answers) / self.seconds

    def count(self, status: int) -> int:
        """Return the number of answers with a status."""
        return sum(answer.status == status for answer in self.answers)

    def percentile_ms(self, percent: float, status: int = 200) -> float | None:
        """Return a percentile of the times of the answers with a status, or None without any."""
        took = sorted(answer.ended_s - answer.due_s for answer in self.answers if answer.status == status)
        return 1000 * took[min(len(took) - 1, int(len(took) * percent / 100))] if took else None


class Connection(asyncio.Protocol):
    """A connection that sends one request at a time."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.end: int | None = None  # of the response in `received`, once its head has arrived
        self.status = LOST
        self.answer: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Add to a response, and set its status when it is complete."""
        self.received += data
        if self.end is None and (head := self.received.find(END_OF_HEAD)) >= 0:
            self.status, length = read_head(bytes(self.received[:head]))
            self.end = head + len(END_OF_HEAD) + length
        if self.end is not None and len(self.received) >= self.end:
            self.received.clear()
            self.end = None
            self.finish(self.status)

    def connection_lost(self, _: Exception | None) -> None:
        """Report that the request in flight gets no answer."""
        self.finish(LOST)

    def finish(self, status: int) -> None:
        """Set the status of the request in flight."""
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(status)

    async def ask(self, request: bytes) -> int:
        """Send a request and return the status of its response."""
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self.answer


def read_head(head: bytes) -> tuple[int, int]:
    """Return the status of a response and the length of its body."""
    status, *fields = head.split(b"\r\n")
    lengths = [int(each[15:]) for each in fields if each[:15].lower() == b"content-length:"]
    return int(status[9:12]), lengths[0] if lengths else 0


def post(url: str, body: bytes, content_type: str = "image/jpeg") -> bytes:
    """Return the bytes of a POST request."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    head = f"POST {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: {content_type}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Clients:
    """Clients of one service, and what they have seen so far."""

    def __init__(self, urls: Sequence[str], body: bytes) -> None:
        """The requests go to these URLs of one service in turn."""
        parts = urlsplit(urls[0])
        self.host, self.port = parts.hostname, parts.port
        self.requests = itertools.cycle([post(url, body) for url in urls])
        self.idle: list[Connection] = []
        self.answers: list[Answer] = []
        self.began = time.perf_counter()

    async def connect(self) -> Connection:
        """Return an idle connection, or a new one."""
        while self.idle:
            if not (connection := self.idle.pop()).transport.is_closing():
                return connection
        _, made = await asyncio.get_running_loop().create_connection(Connection, self.host, self.port)
        return made

    async def ask(self, due: float) -> None:
        """Send one request that was due at that time, and record its answer."""
        try:
            connection = await self.connect()
            status = await connection.ask(next(self.requests))
        except OSError:
            status = LOST
        else:
            self.idle.append(connection)
        self.answers.append(Answer(status, due - self.began, time.perf_counter() - self.began))

    async def repeat(self, until: float) -> None:
        """Send requests one after another until that time."""
        while (now := time.perf_counter()) < until:
            await self.ask(now)

    async def closed(self, clients: int, seconds: float) -> None:
        """Send requests from a number of clients for some time."""
        until = self.began + seconds
        await asyncio.gather(*(self.repeat(until) for _ in range(clients)))

    async def open(self, rate: float, seconds: float, seed: int = 0) -> None:
        """Send requests at a mean rate per second for some time, and wait for all answers."""
        asking = []
        for after_s in itertools.takewhile(lambda after_s: after_s < seconds, Open(rate, seed).due_times()):
            due = self.began + after_s
            await asyncio.sleep(due - time.perf_counter())
            asking.append(asyncio.create_task(self.ask(due)))
        await asyncio.gather(*asking)

    def close(self) -> None:
        """Close all connections."""
        for connection in self.idle:
            connection.transport.close()


def closed(urls: Sequence[str], body: bytes, *, clients: int, seconds: float) -> Load:
    """Return what clients see in closed loop."""
    return asyncio.run(measure(Clients(urls, body), seconds, lambda made: made.closed(clients, seconds)))


def opened(urls: Sequence[str], body: bytes, *, rate: float, seconds: float) -> Load:
    """Return what clients see in open loop."""
    return asyncio.run(measure(Clients(urls, body), seconds, lambda made: made.open(rate, seconds)))


async def measure(made: Clients, seconds: float, work: Callable[[Clients], Coroutine[None, None, None]]) -> Load:
    """Return what clients see while they do that work."""
    made.began, cpu_s = time.perf_counter(), own_cpu_s()
    await work(made)
    made.close()
    return Load(seconds, made.answers, own_cpu_s() - cpu_s)


def own_cpu_s() -> float:
    """Return the CPU time of this process in seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
