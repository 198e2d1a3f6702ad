"""Clients that misuse HTTP/2 on the gRPC port: the service lives on, answers others meanwhile, and forgets them."""

import os
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
)

from service.pb.twins.v1 import twins_pb2 as pb
from service.pb.twins.v1 import twins_pb2_grpc as pb_grpc
from service.rpc import limits
from tests.http2 import PREFACE, Client
from tests.server import RETURN_FREED, Server, wait_until

CLASSIFY, STREAM, WATCH = "/twins.v1.Twins/Classify", "/twins.v1.Twins/ClassifyStream", "/grpc.health.v1.Health/Watch"
ENHANCE_YOUR_CALM = 11
GROWTH_BYTES = 24 * 2**20  # of the frontend, after a flood


@pytest.fixture(scope="module")
def server():
    with Server("--max-calls", "100", environ=RETURN_FREED) as running:
        yield running


@pytest.fixture(autouse=True)
def unharmed(server, cat):
    """Check that the service answers, by the same process with as much memory, after each test."""
    answer(server, cat)
    before, pid = server.memory_bytes()["frontend-0"], server.pid("frontend-0")
    yield
    answer(server, cat)
    assert server.pid("frontend-0") == pid
    wait_until(lambda: server.memory_bytes()["frontend-0"] - before < GROWTH_BYTES, what="as much free memory")


def answer(server: Server, image: bytes) -> None:
    """Get an answer and the health of the service over new connections."""
    healthy(server)
    with grpc.insecure_channel(server.grpc) as channel:
        assert pb_grpc.TwinsStub(channel).Classify(pb.ClassifyRequest(image=image), timeout=30).predictions


def healthy(server: Server) -> None:
    """Get the health of the service over new connections of both protocols."""
    with grpc.insecure_channel(server.grpc) as channel:
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    assert httpx.get(f"{server.http}/livez").status_code == 200


def flood(client: Client, frames: Callable[[int], bytes], count: int, *, batch: int = 500) -> bool:
    """Send the bytes of each number. Return whether the server took all of them."""
    try:
        for first in range(0, count, batch):
            client.socket.sendall(b"".join(map(frames, range(first, min(first + batch, count)))))
    except OSError:
        return False
    return True
