"""Large images in processes of their own, and the limits of the service's processes."""

import os
import signal
import socket
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import httpx
import psutil
import pytest

from service.pb.twins.v1 import twins_pb2 as pb
from service.pb.twins.v1 import twins_pb2_grpc as pb_grpc
from tests.server import Server, wait_until

ROLES = ("worker-0", "frontend-0")
TIMEOUT_S = 2.0


@pytest.fixture(scope="module")
def isolating():
    """A service that decodes every image in a process."""
    with Server("--isolate-pixels", "1", "--decode-timeout-s", str(TIMEOUT_S)) as running:
        yield running


@pytest.fixture
def decoder(isolating, cat) -> psutil.Process:
    """The process that decodes the next image."""
    assert classify(isolating, cat).status_code == 200
    return decoders(isolating)[0]


def decoders(server: Server) -> list[psutil.Process]:
    return psutil.Process(server.pid("frontend-0")).children()


def classify(server: Server, image: bytes) -> httpx.Response:
    return httpx.post(f"{server.http}/classify", content=image, timeout=60)


@pytest.mark.parametrize("path", ["classify", "embed", "segment", "detect", "segment?format=overlay"])
def test_an_answer_over_http_is_the_same_with_and_without_a_process(isolating, server, cat, path):
    with_process, without = (httpx.post(f"{each.http}/{path}", content=cat, timeout=60) for each in (isolating, server))
    assert with_process.status_code == 200
    if with_process.headers["content-type"] == "application/json":
        assert without_timing(with_process) == without_timing(without)
    else:
        assert with_process.content == without.content


def without_timing(response: httpx.Response) -> dict:
    return {name: value for name, value in response.json().items() if name not in ("timing", "request_id")}


def test_an_answer_over_grpc_is_the_same_with_and_without_a_process(isolating, server, cat):
    def predictions(target: str) -> list[str]:
        with grpc.insecure_channel(target) as channel:
            answer = pb_grpc.TwinsStub(channel).Classify(pb.ClassifyRequest(image=cat))
            return list(map(str, answer.predictions))

    assert predictions(isolating.grpc) == predictions(server.grpc)


def test_an_image_that_takes_too_long_is_refused_over_http(isolating, decoder, cat):
    decoder.suspend()
    answer = classify(isolating, cat)
    assert (answer.status_code, answer.json()["code"]) == (422, "decode_timeout")
    assert classify(isolating, cat).status_code == 200
    assert isolating.metric("twins_decodes_aborted_total", reason="timeout") > 0


def test_an_image_that_takes_too_long_is_refused_over_grpc(isolating, decoder, cat):
    decoder.suspend()
    with grpc.insecure_channel(isolating.grpc) as channel, pytest.raises(grpc.RpcError) as refused:
        pb_grpc.TwinsStub(channel).Classify(pb.ClassifyRequest(image=cat))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert dict(refused.value.trailing_metadata())["twins-code"] == "decode_timeout"


def test_the_decoder_of_a_client_that_disconnects_is_killed(isolating, decoder, cat):
    decoder.suspend()
    address = urlsplit(isolating.http)
    before = isolating.metric("twins_decodes_aborted_total", reason="cancelled")
    with socket.create_connection((address.hostname, address.port)) as connection:
        head = f"POST /classify HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {len(cat)}\r\n\r\n"
        connection.sendall(head.encode() + cat)
        wait_until(lambda: isolating.metric("twins_in_flight_images") == 1, what="an image in flight")
    wait_until(lambda: not decoder.is_running(), what="the end of the decoder")
    aborted = lambda: isolating.metric("twins_decodes_aborted_total", reason="cancelled")  # noqa: E731
    wait_until(lambda: aborted() == before + 1, what="the metric")


def test_no_process_writes_core_dumps_and_all_may_open_as_many_files_as_the_system_allows(isolating, decoder):
    pids = [isolating.process.pid, *(isolating.pid(role) for role in ROLES)]
    limits = {pid: Path(f"/proc/{pid}/limits").read_text() for pid in [*pids, decoder.pid]}
    for text in limits.values():
        assert limit(text, "Max core file size") == ["0", "0"]
    for pid in pids:
        soft, hard = limit(limits[pid], "Max open files")
        assert soft == hard


def limit(limits: str, name: str) -> list[str]:
    """Return the soft and the hard limit."""
    return next(line for line in limits.splitlines() if line.startswith(name)).removeprefix(name).split()[:2]


def test_the_memory_of_a_process_shows_in_the_metrics_though_the_process_writes_no_core_dumps(isolating):
    for role in ("supervisor", *ROLES):
        assert isolating.metric("twins_process_resident_memory_bytes", process=role) > 0


def test_decoders_end_with_their_frontend(isolating, decoder):
    decoder.suspend()  # as if it were busy
    os.kill(isolating.pid("frontend-0"), signal.SIGKILL)
    wait_until(lambda: not decoder.is_running() or decoder.status() == psutil.STATUS_ZOMBIE, what="its end")
    wait_until(isolating.worker_ready, what="the next frontend")
