"""Devices that run out of memory, hang, fail or disappear, and images that end the process."""

import asyncio
import os
import signal
from contextlib import contextmanager

import httpx
import pytest

from tests.faulty.image import plain
from tests.server import Server, wait_until

LIGHT, DARK, POISON, HUGE = plain(250, 250, 250), plain(9, 9, 9), plain(255, 0, 255), plain(0, 255, 0)
MODEL = ("--model", "twins_svt_nano")


@contextmanager
def faulty(*flags, **faults):
    """Run a service with faults of `tests.faulty`, without their prefix and in lower case."""
    environ = {f"FAULTY_{name.upper()}": str(value) for name, value in faults.items()}
    with Server(*MODEL, *flags, program="tests.faulty", environ=environ) as server:
        yield server


@pytest.fixture
def switch(tmp_path):
    """Return the file as long as which a fault lasts."""
    return tmp_path / "fault"


def classify(server, *images) -> list[str | int]:
    """Send images at the same time, and return the label of each, or the status of its error."""

    async def send(client, image):
        answer = await client.post("/classify", content=image)
        return answer.json()["predictions"][0]["label"] if answer.is_success else answer.status_code

    async def send_all():
        async with httpx.AsyncClient(base_url=server.http, timeout=60) as client:
            return await asyncio.gather(*(send(client, image) for image in images))

    return asyncio.run(send_all())


def readiness(server) -> dict:
    return httpx.get(f"{server.http}/readyz").json()


# ---------------------------------------------------------------------- the canary


@pytest.mark.parametrize("fault", ["fail_while", "hang_while"])
def test_ready_turns_off_while_a_device_is_dead_and_on_with_the_next_success(switch, fault):
    with faulty("--canary-s", "0.3", **{fault: switch}) as server:
        images = server.metric("twins_images_total")
        switch.touch()
        wait_until(lambda: not server.worker_ready(), what="not ready")
        shown = readiness(server)
        assert (shown["status"], shown["workers"]) == ("failing", {"ready": 0, "expected": 1})
        assert list(shown["problems"]) == ["worker-0"]
        assert server.metric("twins_worker_up", worker="worker-0") == 0
        switch.unlink()
        wait_until(server.worker_ready, what="ready")
        assert readiness(server) == {"status": "ready", "workers": {"ready": 1, "expected": 1}}
        assert server.metric("twins_worker_up", worker="worker-0") == 1
        assert server.metric("twins_images_total") == images
        assert server.metric("twins_batch_size_count") == 0
        assert server.metric("twins_process_restarts_total") == 0


def test_requests_go_to_the_workers_whose_device_lives(switch):
    with faulty("--canary-s", "0.3", "--device", "cpu,cpu", workers="worker-1", fail_while=switch) as server:
        server.wait_for("worker ready", count=2)
        switch.touch()
        wait_until(lambda: readiness(server)["workers"]["ready"] == 1, what="one worker ready")
        assert server.worker_ready()
        assert set(classify(server, *[LIGHT] * 32)) == {"light"}


# ---------------------------------------------------------------------- memory, loss and crashes


@pytest.fixture(scope="module")
def fragile():
    """Return a service that two images fit on, and that magenta ends; green never fits."""
    with faulty(oom_above=2, oom_colour="0,255,0", crash_colour="255,0,255", crash_by="SEGV", slow_s=0.02) as server:
        yield server


def test_a_batch_that_exceeds_the_memory_runs_in_parts_and_the_next_ones_are_no_larger(fragile):
    for _ in range(2):
        assert classify(fragile, *[LIGHT, DARK] * 8) == ["light", "dark"] * 8
    assert fragile.events("canary failed") == []


def test_an_image_that_never_fits_leaves_its_neighbours_their_answers(fragile):
    assert classify(fragile, LIGHT, HUGE, *[DARK] * 6) == ["light", 503, *["dark"] * 6]


def test_an_image_that_ends_the_process_each_time_fails_alone(fragile):
    assert classify(fragile, *[LIGHT] * 4, POISON, *[DARK] * 4) == [*["light"] * 4, 500, *["dark"] * 4]
    assert fragile.metric("twins_process_restarts_total", reason="SIGSEGV") == 2


def test_a_device_that_is_lost_costs_no_request():
    with faulty(lost_on_batch=3, slow_s=0.02) as server:
        for _ in range(4):
            assert classify(server, LIGHT) == ["light"]
        assert server.metric("twins_process_restarts_total", reason="exit 4") == 1


def test_one_of_two_devices_is_lost_and_comes_back(switch):
    with faulty("--device", "cpu,cpu", workers="worker-1", lost_while=switch) as server:
        server.wait_for("worker ready", count=2)
        switch.touch()
        for _ in range(3):
            assert set(classify(server, *[LIGHT] * 16)) == {"light"}
        wait_until(lambda: readiness(server)["workers"] == {"ready": 1, "expected": 2}, what="one worker")
        switch.unlink()
        wait_until(lambda: readiness(server)["workers"]["ready"] == 2, what="both workers")
        assert server.metric("twins_process_restarts_total", process="worker-0") == 0


def test_a_worker_that_dies_over_and_over_is_started_less_and_less_often_and_requests_fail_at_once(switch):
    with faulty(die_at_start_while=switch, lost_while=switch) as server:
        switch.touch()
        classify(server, LIGHT)  # the device is lost
        server.wait_for("restarting", count=4, role="worker-0")
        pauses = [event["in_s"] for event in server.events("restarting", role="worker-0")]
        assert pauses == sorted(pauses)
        assert pauses[:4] == [0.0, 0.5, 1.0, 2.0]
        assert classify(server, *[LIGHT] * 20) == [503] * 20  # not 504: no request waits for its deadline
        assert len(server.events("restarting")) < 10
        switch.unlink()
        wait_until(server.worker_ready, what="ready")
        assert classify(server, LIGHT) == ["light"]


def test_new_connections_are_served_while_a_frontend_that_was_killed_is_started_again():
    with faulty("--frontends", "2") as server:
        killed = server.pid("frontend-0")
        os.kill(killed, signal.SIGKILL)
        server.wait_for("restarting", role="frontend-0")
        assert classify_on_new_connections(server, 20) == ["light"] * 20


def classify_on_new_connections(server, count) -> list[str | int]:
    """Send an image on each of so many connections."""
    return [classify(server, LIGHT)[0] for _ in range(count)]
