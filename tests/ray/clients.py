"""Clients that repeat a request as long as that is safe, and go on to another address when one does not answer."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx

from service.pb.twins.v1 import twins_pb2 as pb
from service.pb.twins.v1 import twins_pb2_grpc as pb_grpc

ATTEMPT_S, LONGEST_S = 5.0, 60.0
PAUSE_S = 0.05
REPEATED = {429, 503}
REPEATED_CODES = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}


class NoAnswer(Exception):
    """An attempt failed in a way after which the request may be repeated."""


@dataclass
class Record:
    """What all clients have seen."""

    answered: list[float] = field(default_factory=list)  # when; times of the monotonic clock
    took_s: list[float] = field(default_factory=list)  # of each request with all its attempts
    repeated: Counter = field(default_factory=Counter)  # attempts that failed, by reason
    lost: list[str] = field(default_factory=list)
    answers: Counter = field(default_factory=Counter)  # the best label

    def longest_gap_s(self, after: float) -> float:
        """Return the longest time without any answer after a moment."""
        times = sorted(t for t in self.answered if t >= after)
        return max((b - a for a, b in itertools.pairwise([after, *times])), default=float("inf"))


Attempt = Callable[[Any, bytes], Any]


async def post(client: httpx.AsyncClient, image: bytes) -> str:
    """Return the best label over HTTP. Raise NoAnswer."""
    try:
        response = await client.post("/classify", content=image, timeout=ATTEMPT_S)
    except httpx.TransportError as error:
        raise NoAnswer(type(error).__name__) from error
    if response.status_code in REPEATED:
        raise NoAnswer(response.json()["detail"])
    if response.status_code != 200:
        raise AssertionError(f"{response.status_code} {response.text[:200]}")
    return response.json()["predictions"][0]["label"]


async def call(stub: pb_grpc.TwinsStub, image: bytes) -> str:
    """Return the best label over gRPC. Raise NoAnswer."""
    try:
        answer = await stub.Classify(pb.ClassifyRequest(image=image), timeout=ATTEMPT_S)
    except grpc.aio.AioRpcError as error:
        if error.code() in REPEATED_CODES:
            raise NoAnswer(str(error.details()).partition(":")[0]) from error
        raise AssertionError(f"{error.code()} {error.details()}") from error
    return answer.predictions[0].label


async def run(
    attempt: Attempt, addresses: Iterator[Any], image: bytes, stop: Callable[[], bool], record: Record
) -> None:
    """Send one request after another until `stop` is true, each until it is answered."""
    target = next(addresses)
    while not stop():
        began = time.monotonic()
        while True:
            try:
                record.answers[await attempt(target, image)] += 1
            except NoAnswer as error:
                record.repeated[str(error)] += 1
                if time.monotonic() - began > LONGEST_S:
                    record.lost.append(f"no answer within {LONGEST_S} s")
                    break
                target = next(addresses)
                await asyncio.sleep(PAUSE_S)
            except AssertionError as error:
                record.lost.append(str(error))
                break
            else:
                record.answered.append(time.monotonic())
                record.took_s.append(time.monotonic() - began)
                break


async def load(
    http: Sequence[str], grpc_: Sequence[str], image: bytes, *, count: int, stop: Callable[[], bool], record: Record
) -> None:
    """Run so many clients, half of them over gRPC, each beginning with the next address."""
    async with AsyncExitStack() as stack:
        web = [await stack.enter_async_context(httpx.AsyncClient(base_url=each)) for each in http]
        channels = [await stack.enter_async_context(grpc.aio.insecure_channel(each)) for each in grpc_]
        stubs = [pb_grpc.TwinsStub(each) for each in channels]
        ways = [(post, web), (call, stubs)]
        async with asyncio.TaskGroup() as group:
            for index in range(count):
                attempt, targets = ways[index % 2]
                addresses = itertools.cycle(targets[index // 2 % len(targets) :] + targets[: index // 2 % len(targets)])
                group.create_task(run(attempt, addresses, image, stop, record))
