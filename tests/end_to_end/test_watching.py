"""Metrics of a running service that do not come from requests."""

import os
import signal
import time
from ctypes.util import find_library

import httpx
import pytest

from tests import nvml
from tests.prometheus import free_port
from tests.server import Server, wait_until


def metrics(base: str) -> str:
    """Return the text of /metrics, or nothing while the service does not listen."""
    try:
        return httpx.get(f"{base}/metrics").text
    except httpx.ConnectError:
        return ""


def test_a_worker_that_is_still_loading_is_shown_as_not_ready():
    port = free_port()
    with Server("--http-port", str(port), wait=False) as server:
        server.wait_for("started", role="worker-0")
        worker = server.pid("worker-0")
        os.kill(worker, signal.SIGSTOP)
        try:
            wait_until(lambda: 'twins_worker_up{worker="worker-0"} 0.0' in metrics(f"http://127.0.0.1:{port}"))
        finally:
            os.kill(worker, signal.SIGCONT)
        wait_until(lambda: 'twins_worker_up{worker="worker-0"} 1.0' in metrics(f"http://127.0.0.1:{port}"))


def test_the_limit_of_images_in_flight_is_that_of_all_frontends():
    with Server("--frontends", "2", "--max-queue", "7") as server:
        assert server.metric("twins_in_flight_limit_images") == 14


def test_a_busy_device_is_shown(server, cat):
    before = server.metric("twins_worker_busy_seconds_total", worker="worker-0")
    httpx.post(f"{server.http}/classify", content=cat).raise_for_status()
    assert server.metric("twins_worker_busy_seconds_total", worker="worker-0") > before


def test_a_drain_shows_its_deadline():
    with Server("--drain-delay-s", "5", "--grace-s", "7") as server:
        assert server.metric("twins_drain_deadline_timestamp_seconds") == 0
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: server.metric("twins_drain_deadline_timestamp_seconds") > 0, what="a deadline")
        left_s = server.metric("twins_drain_deadline_timestamp_seconds") - time.time()
        assert 12 < left_s < 30


@nvml.needs_compiler
def test_gpus_are_shown_if_there_is_a_driver(tmp_path):
    with Server(environ=nvml.build(tmp_path)) as server:
        wait_until(lambda: server.metric("twins_gpu_memory_used_bytes", gpu="1") == 20 * 2**30, what="its memory")
        assert server.stop() == 0


@nvml.needs_compiler
def test_gpus_are_not_read_if_they_are_not_used(tmp_path):
    with Server("--device", "cpu", environ=nvml.build(tmp_path)) as server:
        assert "twins_gpu" not in metrics(server.http)


@pytest.mark.skipif(find_library("nvidia-ml") is not None, reason="this machine has a driver")
def test_a_machine_without_a_gpu_has_no_gpu_metrics_and_no_warning():
    with Server("--log-level", "info") as server:
        assert "twins_worker_up" in metrics(server.http)
        assert "twins_gpu" not in metrics(server.http)
        assert "gpu" not in server.log().lower()
