"""Clients that misuse HTTP/2 on the gRPC port: the service lives on, answers others meanwhile, and forgets them."""

import os
from collections.abc import Callable
from contextlib import ExitStack

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hyperframe.frame import (
    ContinuationFrame,
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
RESOURCE_EXHAUSTED = "8"
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


def no_open_calls(server: Server) -> None:
    """Wait until all calls have ended."""
    wait_until(lambda: server.metric("twins_open_calls") == 0, what="the end of all calls")


def flood(client: Client, frames: Callable[[int], bytes], count: int, *, batch: int = 500) -> bool:
    """Send the bytes of each number. Return whether the server took all of them."""
    try:
        for first in range(0, count, batch):
            client.socket.sendall(b"".join(map(frames, range(first, min(first + batch, count)))))
    except OSError:
        return False
    return True


def test_calls_that_are_reset_at_once(server):
    with Client(server.grpc) as client:
        client.round_trip()

        def opened_and_reset(number: int) -> bytes:
            stream = 2 * number + 1
            return client.headers(stream, CLASSIFY).serialize() + RstStreamFrame(stream, error_code=8).serialize()

        flood(client, opened_and_reset, 5000)
        healthy(server)
    no_open_calls(server)


def test_pings_without_calls_end_their_connection(server):
    with Client(server.grpc) as client:
        flood(client, lambda _: PingFrame(0, b"12345678").serialize(), 1000)
        assert client.wait_for_end() in (ENHANCE_YOUR_CALM, None)  # None: it was cut before it could be read
        healthy(server)


def test_settings_that_never_end(server):
    with Client(server.grpc) as client:
        settings = SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 65535}).serialize()
        flood(client, lambda _: settings, 20_000)
        healthy(server)


def test_settings_whose_acknowledgements_are_not_read(server):
    with Client(server.grpc) as client:
        client.socket.settimeout(0.5)
        settings = SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 65535}).serialize()
        flood(client, lambda _: settings * 1000, 200)
        healthy(server)


def test_streams_over_the_limit_are_refused(server):
    allowed = limits.CONNECTION_OPTIONS["grpc.max_concurrent_streams"]
    with Client(server.grpc) as client:
        client.round_trip()  # with the settings of the server
        client.send(*(client.headers(2 * number + 1, STREAM) for number in range(allowed + 50)))
        found = client.statuses(50 + allowed - 100)  # all but those that --max-calls lets in
        assert sorted(found.values()).count("reset") >= 50
        healthy(server)


def test_headers_that_never_end_are_refused(server):
    with Client(server.grpc) as client:
        client.round_trip()
        client.send(endless(client))
        further = client.encoder.encode([("x-filler", "a" * 1000)])
        assert flood(client, lambda _: ContinuationFrame(1, further).serialize(), 20_000)
        healthy(server)
        assert client.statuses(1) == {1: RESOURCE_EXHAUSTED}


def endless(client: Client) -> HeadersFrame:
    """Return headers that others follow."""
    headers = client.headers(1, CLASSIFY)
    headers.flags.discard("END_HEADERS")
    return headers


def test_headers_without_an_end_that_add_nothing_end_their_connection(server):
    with Client(server.grpc) as client:
        client.round_trip()
        client.send(endless(client))
        flood(client, lambda _: ContinuationFrame(1).serialize(), 20_000)
        client.wait_for_end()
        healthy(server)


def test_headers_that_are_too_large_are_refused(server):
    with Client(server.grpc) as client:
        client.round_trip()
        client.send(client.headers(1, CLASSIFY, *((f"x-{number}", "a" * 400) for number in range(39))))
        assert client.statuses(1) == {1: RESOURCE_EXHAUSTED}
        healthy(server)


def test_a_client_whose_window_is_closed(server, cat):
    with ExitStack() as clients:
        for _ in range(10):
            client = clients.enter_context(Client(server.grpc, window=0))
            client.call(1, CLASSIFY, pb.ClassifyRequest(image=cat).SerializeToString())
        healthy(server)


def test_connections_that_say_nothing(server):
    with ExitStack() as clients:
        for number in range(60):
            client = clients.enter_context(Client(server.grpc, preface=False))
            client.socket.sendall(PREFACE[: number % len(PREFACE)])
        healthy(server)


def test_bytes_that_are_not_http2_end_their_connection(server):
    for data in (os.urandom(1000), b"GET / HTTP/1.1\r\n\r\n", PREFACE + os.urandom(1000)):
        with Client(server.grpc, preface=False) as client:
            client.socket.sendall(data)
            client.wait_for_end()
    healthy(server)


def test_calls_of_a_client_that_goes_away_end(server, cat):
    with Client(server.grpc) as client:
        for stream, method in ((1, STREAM), (3, CLASSIFY)):
            client.send(
                client.headers(stream, method),
                client.parts(stream, pb.ClassifyRequest(image=cat).SerializeToString())[0],
            )
        client.send(GoAwayFrame(0, last_stream_id=0, error_code=0))
        wait_until(lambda: server.metric("twins_open_calls") == 2, what="both calls")
        healthy(server)
    no_open_calls(server)
