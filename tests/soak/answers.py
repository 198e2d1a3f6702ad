"""The same image gets the same answer, whoever shares its batch, over every protocol and after a restart."""

import asyncio
import base64
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import grpc

from service.pb.twins.v1 import twins_pb2 as pb
from service.pb.twins.v1 import twins_pb2_grpc as pb_grpc
from tests.server import Server
from tests.soak.clients import INPUT, MODELS
from tests.soak.images import CAT, SMALL, resized
from tests.soak.processes import NANO
from tests.soak.scenario import Limit, Report, Scenario

IMAGES = (CAT, SMALL, resized(224), resized(500))
TOGETHER = 6  # requests for each image over each protocol at a time
TOLERANCE = 1e-4  # of a score; kernels may sum in another order for another size of a batch

Scores = Mapping[str, float]  # by label, the best five
Way = Callable[[bytes], Awaitable[Scores]]


async def ways(service: Server, stack: AsyncExitStack) -> Sequence[Way]:
    """Return a function for each protocol that classifies an image."""
    session = await stack.enter_async_context(aiohttp.ClientSession(service.http, raise_for_status=True))
    channel = await stack.enter_async_context(grpc.aio.insecure_channel(service.grpc))
    stub: Any = pb_grpc.TwinsStub(channel)

    async def rest(image: bytes) -> Scores:
        async with session.post("/classify", data=image) as answer:
            return {each["label"]: each["score"] for each in (await answer.json())["predictions"]}

    async def rpc(image: bytes) -> Scores:
        answer = await stub.Classify(pb.ClassifyRequest(image=image), timeout=60)
        return {each.label: each.score for each in answer.predictions}

    async def v2(image: bytes) -> Scores:
        body = {"inputs": [{**INPUT, "data": [base64.b64encode(image).decode()]}]}
        async with session.post(f"/v2/models/{MODELS['classify']}/infer", json=body) as answer:
            outputs = {each["name"]: each["data"] for each in (await answer.json())["outputs"]}
        return dict(zip(outputs["labels"], outputs["scores"], strict=True))

    return rest, rpc, v2


async def ask_all(service: Server, rounds: int) -> list[float]:
    """Return how much each answer differs from that over REST to the same image alone."""
    async with AsyncExitStack() as stack:
        protocols = await ways(service, stack)
        alone = [await protocols[0](image) for image in IMAGES]
        differences = [apart(alone[i], await way(image)) for way in protocols for i, image in enumerate(IMAGES)]
        for number in range(rounds):
            numbers = [i for i in range(len(IMAGES)) for _ in range(TOGETHER)] * len(protocols)
            asking = [protocols[n % len(protocols)](IMAGES[i]) for n, i in enumerate(numbers)]
            differences += [
                apart(alone[i], found) for i, found in zip(numbers, await asyncio.gather(*asking), strict=True)
            ]
            os.kill(service.pid("worker-0"), signal.SIGKILL)
            await asyncio.to_thread(service.wait_for, "worker ready", count=number + 2)
            differences += [apart(alone[i], await way(image)) for way in protocols for i, image in enumerate(IMAGES)]
    return differences


def apart(one: Scores, other: Scores) -> float:
    """Return the largest difference of two answers; 1 if their labels differ."""
    return max(abs(one[label] - other[label]) for label in one) if one.keys() == other.keys() else 1.0


def compare(service: Server, rounds: int) -> Report:
    """Compare the answers to the same images."""
    differences = asyncio.run(ask_all(service, rounds))
    number = len(differences) + len(IMAGES)
    return Report(number, number, 0, 0, 0.0, figures={"largest_difference": max(differences)})


SCENARIOS = (
    Scenario(
        "same-answers",
        "The same image is sent alone, in batches with others, before and after a restart of the worker, over REST,"
        " gRPC and V2.",
        "The labels are the same, and the scores within 0.0001.",
        compare,
        short=1,
        long=10,
        long_s=60,
        limits=(Limit("lost", most=0), Limit("largest_difference", most=TOLERANCE)),
        flags=NANO,
    ),
)
