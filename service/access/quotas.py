"""The share of each client: how many of its images may be in flight, and how many it may send per second.

A client is an API key, or an address. Times are those of the event loop.
"""

import asyncio
import math
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from service.errors import QuotaExceeded

MAX_CLIENTS = 10_000  # that are remembered though nothing of theirs is in flight
RETRY_AFTER_S = 1  # when an image in flight has to be answered first
PAUSE_S = 0.1  # before a refusal, so that a client that sends again at once does not keep the frontend busy


class Work(Protocol):
    """What a call has going on, as its account of memory knows it."""

    @property
    def in_threads(self) -> bool:
        """Return whether threads work for the call, which may have ended."""


@dataclass(frozen=True)
class Left:
    """A call that ended while threads still worked on its images."""

    work: Work
    images: int


@dataclass
class Client:
    """What one client has used of its share."""

    tokens: float  # images that it may send at once; negative after a call with more images than that
    updated: float
    in_flight: int = 0
    left: list[Left] = field(default_factory=list)


class Quotas:
    """The shares of all clients. Clients that have their whole share are forgotten."""

    def __init__(self, *, in_flight: int = 0, images_per_s: float = 0.0) -> None:
        self.most_in_flight, self.images_per_s = in_flight, images_per_s
        self.burst = max(1.0, images_per_s)  # what a second brings, but at least an image
        self.clients: OrderedDict[str, Client] = OrderedDict()  # the one that was used last comes last

    @property
    def on(self) -> bool:
        """Return whether there is any limit."""
        return bool(self.most_in_flight or self.images_per_s)

    @contextmanager
    def admitted(self, name: str, images: int, work: Work) -> Iterator[None]:
        """Count images of a client as in flight during the block. Raise QuotaExceeded.

        They count on while threads work for their call, so that a client gains nothing by hanging up.
        """
        if not self.on:
            yield
            return
        self.check_now(name, images)
        client = self.clients.setdefault(name, Client(self.burst, asyncio.get_running_loop().time()))
        self.clients.move_to_end(name)
        client.tokens -= images if self.images_per_s else 0
        client.in_flight += images
        self.forget()
        try:
            yield
        finally:
            client.left.append(Left(work, images))
            self.refill(client)
            self.forget()

    async def check(self, name: str, images: int) -> None:
        """Raise QuotaExceeded, after a pause, if a client may not send so many images now."""
        try:
            self.check_now(name, images)
        except QuotaExceeded:
            await asyncio.sleep(PAUSE_S)
            raise

    def check_now(self, name: str, images: int) -> None:
        """Raise QuotaExceeded if a client may not send so many images now."""
        if (client := self.clients.get(name)) is None:
            return
        self.refill(client)
        if self.most_in_flight and client.in_flight + images > self.most_in_flight:
            raise QuotaExceeded(
                f"{client.in_flight} images of this client are in flight; the limit is {self.most_in_flight}",
                retry_after_s=RETRY_AFTER_S,
            )
        needed = min(images, self.burst)  # a call with more images needs a full share, and leaves a debt
        if self.images_per_s and client.tokens < needed:
            raise QuotaExceeded(
                f"this client may send {self.images_per_s:g} images per second",
                retry_after_s=max(1, math.ceil((needed - client.tokens) / self.images_per_s)),
            )

    def refill(self, client: Client) -> None:
        """Give a client what has come back since the last look: by time, and by the end of threads."""
        now = asyncio.get_running_loop().time()
        client.tokens = min(self.burst, client.tokens + (now - client.updated) * self.images_per_s)
        client.updated = now
        client.in_flight -= sum(each.images for each in client.left if not each.work.in_threads)
        client.left = [each for each in client.left if each.work.in_threads]

    def forget(self) -> None:
        """Remove the clients at the front that have their whole share again, and the oldest if there are too many.

        A client with images in flight stays: the queue bounds their number. Two looks per call keep the table small.
        """
        for _ in range(2):
            if not self.clients:
                return
            name, client = next(iter(self.clients.items()))
            self.refill(client)
            if client.in_flight:
                self.clients.move_to_end(name)
            elif not self.images_per_s or client.tokens >= self.burst or len(self.clients) > MAX_CLIENTS:
                del self.clients[name]
            else:
                return
