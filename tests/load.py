"""Clients that keep a service busy and count the outcome of every request."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import grpc
import httpx

from service.pb.twins.v1 import twins_pb2 as pb
from service.pb.twins.v1 import twins_pb2_grpc as pb_grpc


@dataclass
class Tally:
    """The outcomes of the requests: answers by status, and requests without an answer."""

    answers: Counter = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.answers.values())


async def post_until(
    stop: Callable[[], bool], base: str, image: bytes, tally: Tally, *, task: str = "classify"
) -> None:
    """Send one HTTP request after another, until `stop` is true or the service no longer listens."""
    async with httpx.AsyncClient(base_url=base, timeout=60) as client:
        while not stop():
            try:
                response = await client.post(f"/{task}", content=image)
            except httpx.ConnectError:  # the service no longer listens, so this request was never accepted
                return
            except httpx.HTTPError as error:
                tally.lost.append(repr(error))
                continue
            tally.answers[response.status_code] += 1


async def connect_until(
    stop: Callable[[], bool], base: str, image: bytes, tally: Tally, *, task: str = "classify"
) -> None:
    """Send one HTTP request after another, each on a new connection."""
    while not stop():
        try:
            async with httpx.AsyncClient(base_url=base, timeout=60) as client:
                response = await client.post(f"/{task}", content=image)
        except httpx.ConnectError:
            return
        except httpx.HTTPError as error:
            tally.lost.append(repr(error))
            continue
        tally.answers[response.status_code] += 1


async def call_until(
    stop: Callable[[], bool], target: str, image: bytes, tally: Tally, *, task: str = "classify"
) -> None:
    """Send one gRPC call after another, until `stop` is true or the service no longer listens."""
    async with grpc.aio.insecure_channel(target) as channel:
        call, request = getattr(pb_grpc.TwinsStub(channel), task.title()), getattr(pb, f"{task.title()}Request")
        while not stop():
            try:
                await call(request(image=image), timeout=60)
            except grpc.aio.AioRpcError as error:
                if error.code() == grpc.StatusCode.UNAVAILABLE and "onnect" in (error.details() or ""):
                    return
                tally.lost.append(f"{error.code()} {error.details()}")
                continue
            tally.answers["OK"] += 1


async def load(
    clients: int, client: Callable, stop: Callable[[], bool], target: str, image: bytes, *, task: str = "classify"
) -> Tally:
    """Run `clients` clients concurrently. Return the outcomes of their requests."""
    tally = Tally()
    await asyncio.gather(*(client(stop, target, image, tally, task=task) for _ in range(clients)))
    return tally
