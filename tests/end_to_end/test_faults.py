"""Processes that die, hang and restart under load."""

import asyncio
import fcntl
import json
import os
import shutil
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.load import call_until, load, post_until
from tests.server import TIMEOUT_S, Server, wait_until


@pytest.fixture
def own_server():
    with Server("--hang-timeout-s", "3") as running:
        yield running


@pytest.fixture(params=["classify", "detect"])
def task(request):
    return request.param


@pytest.fixture
def task_server(task, flags):
    """Start a service that answers the calls of a task."""
    with Server("--hang-timeout-s", "3", *flags[task]) as running:
        yield running


async def while_under_load(server, image, task, action, *, clients=32):
    """Run `action` in a thread while HTTP and gRPC clients send requests. Return the outcomes of both."""
    done = asyncio.Event()
    web = asyncio.create_task(load(clients - 8, post_until, done.is_set, server.http, image, task=task))
    rpc = asyncio.create_task(load(8, call_until, done.is_set, server.grpc, image, task=task))
    try:
        await asyncio.to_thread(action)
    finally:
        done.set()
    return await web, await rpc


def wait_for_traffic(server):
    """Wait until every sample that was on the device at the last kill has been answered."""
    wait_until(server.worker_ready, what="ready")
    served = server.metric("twins_requests_total", code="ok")
    wait_until(lambda: server.metric("twins_requests_total", code="ok") > served + 100, what="traffic")


async def test_a_worker_killed_under_load_fails_no_request(task_server, task, cat):
    def kill_three_times():
        for round_ in range(1, 4):
            wait_for_traffic(task_server)
            os.kill(task_server.pid("worker-0"), signal.SIGKILL)
            task_server.wait_for("worker ready", count=round_ + 1)

    web, rpc = await while_under_load(task_server, cat, task, kill_three_times)
    assert (web.lost, rpc.lost) == ([], [])
    assert set(web.answers) == {200}
    assert rpc.total > 0
    assert task_server.metric("twins_process_restarts_total", process="worker-0", reason="SIGKILL") == 3


async def test_a_worker_that_hangs_is_killed_and_its_requests_are_answered(task_server, task, cat):
    def freeze():
        os.kill(task_server.pid("worker-0"), signal.SIGSTOP)
        task_server.wait_for("worker ready", count=2)

    web, rpc = await while_under_load(task_server, cat, task, freeze, clients=12)
    assert (web.lost, rpc.lost) == ([], [])
    assert set(web.answers) == {200}
    assert task_server.metric("twins_process_restarts_total", reason="hang") == 1


async def test_a_frontend_that_dies_is_restarted_and_serves(own_server, cat):
    os.kill(own_server.pid("frontend-0"), signal.SIGKILL)
    own_server.wait_for("started", count=2, role="frontend-0")
    wait_until(own_server.worker_ready, what="ready")
    assert httpx.post(f"{own_server.http}/classify", content=cat).status_code == 200


async def test_jobs_of_a_frontend_that_died_are_dropped(own_server, cat):
    async def send(client):
        with suppress(httpx.HTTPError):
            await client.post("/segment", content=cat)

    async with httpx.AsyncClient(base_url=own_server.http, timeout=30) as client, asyncio.TaskGroup() as group:
        for _ in range(32):
            group.create_task(send(client))
        await asyncio.to_thread(wait_until, lambda: own_server.metric("twins_queue_depth") > 0, what="a queue")
        os.kill(own_server.pid("frontend-0"), signal.SIGKILL)
    dropped = own_server.wait_for("dropped the jobs of a frontend that has died")
    assert dropped["jobs"] > 0


@pytest.mark.parametrize("padding", [0, 200_000])  # the reading of a long body pauses
def test_a_client_that_hangs_up_is_noticed(task_server, task, cat, padding):
    os.kill(task_server.pid("worker-0"), signal.SIGSTOP)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{task_server.http}/{task}", content=cat + bytes(padding), timeout=0.5)
    assert task_server.wait_for("request", code="cancelled")["bytes_out"] == 0


def test_no_process_is_killed_because_the_supervisor_was_frozen():
    with Server("--hang-timeout-s", "2") as server:
        server.process.send_signal(signal.SIGSTOP)
        time.sleep(4)  # no condition to wait for: that time passes is the point
        server.process.send_signal(signal.SIGCONT)
        assert server.stop() == 0
        assert server.events("killing") == []


def test_requests_are_answered_even_if_the_log_is_not_read(cat):
    reader, writer = os.pipe()
    with Server(stderr=writer, wait=False) as server:
        os.close(writer)
        with os.fdopen(reader) as log:
            ready = next(event for line in log if (event := json.loads(line))["event"] == "ready")
        assert httpx.post(f"{ready['http']}/classify", content=cat).status_code == 200
        assert server.stop() == 0


def test_requests_are_answered_while_standard_error_is_a_pipe_that_is_not_read(cat):
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    with Server(stderr=writer, wait=False) as server, os.fdopen(reader) as log:
        os.close(writer)
        ready = next(event for line in log if (event := json.loads(line))["event"] == "ready")
        with httpx.Client(timeout=10) as client:
            answers = {client.post(f"{ready['http']}/classify", content=cat).status_code for _ in range(100)}
        assert answers == {200}
        assert server.stop() == 0


def test_the_runtime_folder_may_be_deleted_while_the_service_runs(short_path, cat):
    with Server("--frontends", "2", environ={"TMPDIR": str(short_path)}) as server:
        folder = next(path for path in short_path.iterdir() if path.is_dir())
        httpx.post(f"{server.http}/classify", content=cat).raise_for_status()
        shutil.rmtree(folder)
        wait_until(lambda: (folder / "control").exists() and (folder / "worker-0.0").exists(), what="the sockets")
        wait_until(lambda: server.metric("twins_requests_total", code="ok") == 1, what="the counts of before")
        for number in range(2):  # new frontends must find the old worker
            os.kill(server.pid(f"frontend-{number}"), signal.SIGKILL)
            server.wait_for("started", count=2, role=f"frontend-{number}")
        wait_until(server.worker_ready, what="ready")
        assert httpx.post(f"{server.http}/classify", content=cat).status_code == 200
        os.kill(server.pid("worker-0"), signal.SIGKILL)  # and the supervisor a new worker
        server.wait_for("worker ready", count=2)
        assert httpx.post(f"{server.http}/classify", content=cat).status_code == 200
        assert server.stop() == 0
    assert not folder.exists()


def test_a_service_whose_supervisor_was_killed_leaves_no_folder_after_the_next_start(short_path):
    environ = {"TMPDIR": str(short_path)}
    with Server(environ=environ) as server:
        (abandoned,) = short_path.iterdir()
        server.process.kill()
        server.process.wait()
    with Server(environ=environ) as server:
        assert not abandoned.exists()
        assert server.stop() == 0
    assert list(short_path.iterdir()) == []


def test_a_device_that_is_missing_does_not_end_a_service_that_has_another(cat):
    with Server("--device", "cpu,cuda:7") as server:
        assert server.events("ready")[0]["workers"] == {"ready": 1, "expected": 2}
        assert httpx.get(f"{server.http}/readyz").json() == {
            "status": "ready",
            "workers": {"ready": 1, "expected": 2},
        }
        assert server.metric("twins_workers_expected") == 2
        server.wait_for("cannot start", role="worker-1", count=3)  # it is started again and again
        assert server.metric("twins_process_restarts_total", process="worker-1") >= 2
        assert httpx.post(f"{server.http}/classify", content=cat).status_code == 200
        assert server.stop() == 0


def test_a_service_without_any_of_its_devices_ends_at_once():
    with Server("--device", "cuda:6,cuda:7", wait=False) as server:
        assert server.process.wait(TIMEOUT_S) == 3
        assert server.events("cannot start", role="worker-1")


def test_children_do_not_outlive_a_supervisor_that_was_killed():
    with Server() as server:
        pids = [server.pid("worker-0"), server.pid("frontend-0")]
        server.process.kill()
        server.process.wait()
        wait_until(lambda: not any(alive(pid) for pid in pids), what="the children's end")
        for address in (server.http, server.grpc):
            with socket.socket() as free:
                free.bind(("127.0.0.1", int(address.rpartition(":")[2])))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_frontend_does_not_import_torch():
    with Server("--backend", "torch", "--model", "twins_svt_nano") as server:
        assert "libtorch" in Path(f"/proc/{server.pid('worker-0')}/maps").read_text()
        assert "libtorch" not in Path(f"/proc/{server.pid('frontend-0')}/maps").read_text()


def test_two_workers_share_the_work(cat):
    with Server("--device", "cpu,cpu", "--frontends", "2") as server:
        server.wait_for("worker ready", count=2)

        async def ask():
            until = time.monotonic() + 2
            return await load(8, post_until, lambda: time.monotonic() > until, server.http, cat)

        tally = asyncio.run(ask())
        assert set(tally.answers) == {200}
        assert server.metric("twins_worker_up") == 2
        assert server.metric("twins_requests_total", code="ok") == tally.total
