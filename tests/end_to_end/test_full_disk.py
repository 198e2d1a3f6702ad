"""A full disk below the run-time folder costs metrics, not requests."""

import os
import signal

import httpx
import pytest

from tests.disk import fill, small_disk
from tests.faulty.image import plain
from tests.server import Server, wait_until

LIGHT = plain(250, 250, 250)
LARGE = plain(250, 250, 250, side=1200, compress_level=0)  # more than the disk holds


@pytest.fixture
def disk(short_path):
    with small_disk(short_path) as mounted:
        yield mounted


def service(disk, *flags):
    return Server("--model", "twins_svt_nano", *flags, program="tests.faulty", environ={"TMPDIR": str(disk)})


def answered(server, image=LIGHT) -> bool:
    return httpx.post(f"{server.http}/classify", content=image).status_code == 200


def counted(server) -> float:
    return server.metric("twins_requests_total", code="ok")


def test_a_service_starts_on_a_full_disk_and_has_metrics_when_there_is_space(disk):
    filler = fill(disk, but=2 * 4096)  # Python takes another folder if it cannot write a few bytes here
    with service(disk) as server:
        assert all(answered(server, image) for image in (LIGHT, LARGE, LIGHT))
        assert counted(server) == 0
        assert len(server.events("the metrics of this process stay in its memory until there is space")) == 3
        filler.unlink()
        wait_until(lambda: counted(server) == 3, what="the counts of before")
        assert answered(server)
        assert counted(server) == 4
        assert server.stop() == 0


def test_a_disk_that_fills_up_costs_no_request_and_no_process(disk):
    with service(disk) as server:
        assert answered(server)
        filler = fill(disk)
        assert answered(server)
        for role in ("worker-0", "frontend-0"):  # their successors start on a full disk
            os.kill(server.pid(role), signal.SIGKILL)
            server.wait_for("started", count=2, role=role)
        wait_until(server.worker_ready, what="ready")
        assert answered(server)
        filler.unlink()
        wait_until(lambda: counted(server) == 3, what="all counts")
        assert server.metric("twins_process_restarts_total") == 2
        assert server.stop() == 0
