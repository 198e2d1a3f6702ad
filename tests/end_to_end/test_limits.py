"""Overload, deadlines, keys and small limits: services with settings of their own."""

import asyncio
import os
import signal
import socket
from collections import Counter

import grpc
import httpx
import pytest

from service.pb.twins.v1 import twins_pb2 as pb
from service.pb.twins.v1 import twins_pb2_grpc as pb_grpc
from tests.server import Server, wait_until


@pytest.fixture(scope="module")
def narrow():
    """Room for four images, and a worker that is frozen while a test wants a queue."""
    with Server("--max-queue", "4", "--request-timeout-s", "3", "--hang-timeout-s", "120") as running:
        yield running


@pytest.fixture
def frozen(narrow):
    pid = narrow.pid("worker-0")
    os.kill(pid, signal.SIGSTOP)
    yield narrow
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: narrow.metric("twins_in_flight_images") == 0, what="an empty queue")


def post_many(base: str, image: bytes, count: int) -> list[httpx.Response]:
    async def post_all():
        async with httpx.AsyncClient(timeout=30) as client:
            return await asyncio.gather(*(client.post(f"{base}/classify", content=image) for _ in range(count)))

    return asyncio.run(post_all())


def test_a_full_queue_refuses_with_a_time_to_come_back(frozen, cat):
    responses = post_many(frozen.http, cat, 12)
    refused = [r for r in responses if r.status_code == 429]
    assert Counter(r.status_code for r in responses) == {429: 8, 504: 4}
    assert all(int(r.headers["retry-after"]) >= 1 for r in refused)
    assert {r.json()["code"] for r in refused} == {"overloaded"}


def test_a_full_queue_refuses_grpc_alike(frozen, cat):
    with grpc.insecure_channel(frozen.grpc) as channel:
        classify = pb_grpc.TwinsStub(channel).Classify
        waiting = [classify.future(pb.ClassifyRequest(image=cat)) for _ in range(12)]
        codes = Counter(call.code() for call in waiting)
    assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED: 8, grpc.StatusCode.DEADLINE_EXCEEDED: 4}


def test_a_request_with_more_images_than_there_can_be_room_for_is_refused_for_good(narrow, cat):
    response = httpx.post(f"{narrow.http}/classify", files=[("image", cat)] * 5)
    assert response.status_code == 413  # there will never be room


def test_images_that_are_ready_at_the_deadline_are_returned_and_the_others_have_errors(frozen, cat):
    images = [("image", cat), ("image", b"no image")]
    response = httpx.post(f"{frozen.http}/classify", files=images, headers={"X-Request-Timeout": "1"}, timeout=10)
    assert response.status_code == 200
    assert [entry["error"]["code"] for entry in response.json()] == ["deadline_exceeded", "unsupported_media_type"]
    assert frozen.metric("twins_images_total", protocol="http", code="deadline_exceeded") >= 1


def test_a_deadline_that_passes_is_answered_in_time_and_the_sample_is_dropped(frozen, cat):
    response = httpx.post(f"{frozen.http}/classify", content=cat, headers={"X-Request-Timeout": "0.5"}, timeout=10)
    assert (response.status_code, response.json()["code"]) == (504, "deadline_exceeded")


def test_a_body_that_stalls_is_answered_408_and_its_connection_closed(narrow):
    host, _, port = narrow.http.removeprefix("http://").partition(":")
    before = narrow.metric("twins_requests_total", code="request_timeout")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        head = b"POST /classify HTTP/1.1\r\nHost: x\r\nX-Request-Timeout: 0.3\r\nContent-Length: 1000\r\n\r\n"
        connection.sendall(head + bytes(500))
        answer = b"".join(iter(lambda: connection.recv(65536), b""))  # up to the end of the connection
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"code":"request_timeout"' in answer
    assert narrow.metric("twins_requests_total", code="request_timeout") == before + 1


def test_the_service_recovers_from_overload(narrow, cat):
    wait_until(lambda: httpx.post(f"{narrow.http}/classify", content=cat).status_code == 200, what="service as usual")


@pytest.fixture(scope="module")
def guarded():
    limits = ("--max-pixels", "1000", "--max-images", "2", "--max-body-bytes", "50000", "--api-key", "right")
    with Server(*limits, environ={"TWINS_LOG_LEVEL": "debug"}) as running:
        yield running


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Basic right"}, 401),
        ({"Authorization": "Bearer right"}, 413),
        ({"X-API-Key": "right"}, 413),
    ],
)
def test_a_key_is_asked_for_before_the_image_is_looked_at(guarded, cat, headers, status):
    assert httpx.post(f"{guarded.http}/classify", content=cat, headers=headers).status_code == status


def test_grpc_asks_for_the_key_too(guarded, cat):
    with grpc.insecure_channel(guarded.grpc) as channel:
        stub = pb_grpc.TwinsStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Classify(pb.ClassifyRequest(image=cat))
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
        assert stub.ListModels(pb.ListModelsRequest(), metadata=[("authorization", "Bearer right")]).models


def test_a_refused_stream_is_counted(guarded, cat):
    before = guarded.metric("twins_requests_total", protocol="grpc", code="unauthenticated")
    with grpc.insecure_channel(guarded.grpc) as channel, pytest.raises(grpc.RpcError):
        next(pb_grpc.TwinsStub(channel).ClassifyStream(iter([pb.ClassifyRequest(image=cat)])))
    assert guarded.metric("twins_requests_total", protocol="grpc", code="unauthenticated") == before + 1


def test_health_and_metrics_need_no_key(guarded):
    for path in ("/livez", "/readyz", "/healthz", "/metrics"):
        assert httpx.get(f"{guarded.http}{path}").status_code == 200, path


def test_the_limits_of_the_settings_are_the_ones_that_hold(guarded, cat):
    key = {"Authorization": "Bearer right"}
    assert "1000" in httpx.post(f"{guarded.http}/classify", content=cat, headers=key).json()["detail"]
    assert httpx.post(f"{guarded.http}/classify", content=bytes(50_001), headers=key).status_code == 413
    assert httpx.post(f"{guarded.http}/classify", files=[("image", b"x")] * 3, headers=key).status_code == 413


def test_bodies_that_memory_cannot_hold_are_refused_and_forgotten(cat):
    with Server("--max-held-bytes", "3000000", "--max-body-bytes", "1000000") as server:
        image = cat + bytes(900_000)
        statuses = {r.status_code for r in post_many(server.http, image, 8)}
        assert 429 in statuses
        assert httpx.post(f"{server.http}/classify", content=image).status_code == 200


def test_no_key_is_ever_logged(guarded):
    httpx.post(f"{guarded.http}/classify", content=b"x", headers={"Authorization": "Bearer right"})
    guarded.wait_for("request")
    assert "right" not in guarded.log()
