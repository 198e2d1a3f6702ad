"""A client of gRPC that balances by itself loses no call while a pod is replaced. Its options are in the documents."""

import asyncio
import json
from collections import Counter

import grpc

from service.pb.twins.v1 import twins_pb2 as pb
from service.pb.twins.v1 import twins_pb2_grpc as pb_grpc
from tests.server import Server
from tools.documents import DOCS, blocks

CLIENTS = 8


def service_config() -> str:
    """Return the client's configuration in docs/kubernetes.md."""
    (found,) = [text for language, text in blocks(DOCS / "kubernetes.md") if language == "json"]
    return json.dumps(json.loads(found))


async def call_until(done: asyncio.Event, stub: pb_grpc.TwinsStub, image: bytes, codes: Counter) -> None:
    """Classify an image until the event, and count the outcomes."""
    while not done.is_set():
        try:
            await stub.Classify(pb.ClassifyRequest(image=image), timeout=30)
            codes["OK"] += 1
        except grpc.aio.AioRpcError as error:
            codes[error.code().name] += 1


async def test_no_call_is_lost_while_a_pod_drains(cat):
    flags = ("--model", "twins_svt_nano", "--drain-delay-s", "2")
    with Server(*flags) as serving, Server(*flags) as draining:
        options = [("grpc.service_config", service_config())]
        async with grpc.aio.insecure_channel(f"ipv4:{serving.grpc},{draining.grpc}", options=options) as channel:
            done, codes = asyncio.Event(), Counter()
            stub = pb_grpc.TwinsStub(channel)
            calls = [asyncio.create_task(call_until(done, stub, cat, codes)) for _ in range(CLIENTS)]
            for server in (serving, draining):
                await asyncio.to_thread(server.wait_for, "request", count=20, code="ok")
            assert await asyncio.to_thread(draining.stop) == 0
            before = len(serving.events("request", code="ok"))
            await asyncio.to_thread(serving.wait_for, "request", count=before + 20, code="ok")
            done.set()
            await asyncio.gather(*calls)
    assert set(codes) == {"OK"}
