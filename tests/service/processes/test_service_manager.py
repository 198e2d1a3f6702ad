"""What the supervisor reports to the service manager, read from a real datagram socket."""

import asyncio
import os
import signal
import socket
import subprocess
import threading
import time

import pytest
from structlog.testing import capture_logs

from service.environment import child_environment, watchdog_s
from service.processes.service_manager import ServiceManager
from service.processes.slot import ProcessSlot
from tests.programs import need
from tests.server import Server, wait_until


class Manager:
    """A service manager: a socket with a thread that reads it, and the messages so far, as values by name."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.received: list[dict[str, str]] = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self) -> None:
        """Keep every message, until one is empty."""
        while lines := self.socket.recv(4096).decode().splitlines():
            self.received.append(dict(line.split("=", 1) for line in lines))
        self.socket.close()

    def values(self, name: str) -> list[str]:
        """Return the values of a name so far."""
        return [message[name] for message in self.received if name in message]

    def __enter__(self) -> "Manager":
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self.socket.getsockname())


@pytest.fixture
def manager(short_path):
    with Manager(str(short_path / "notify")) as made:
        yield made


def slot(role: str, *, ready: bool) -> ProcessSlot:
    """Return the slot of a process that is ready, or is starting."""
    return ProcessSlot(role, "cpu" if role.startswith("worker") else "", ready=ready)


def slots(*, worker: bool = True, frontend: bool = True) -> list[ProcessSlot]:
    return [slot("worker-0", ready=worker), slot("frontend-0", ready=frontend)]


@pytest.fixture
async def reporting(manager):
    """Return a function that starts the reports on some slots, with the longest time without a ready one."""
    tasks = []

    def start(found: list[ProcessSlot], *, limit_s: float = 60, started: bool = True, wanted: float | None = 0.03):
        reporter = ServiceManager(manager.address, wanted)
        reporter.started = started
        tasks.append(asyncio.create_task(reporter.report(lambda: found, limit_s)))
        return reporter

    yield start
    for task in tasks:
        task.cancel()


async def signs_go_on(manager: Manager, *, seconds: float = 0.2) -> bool:
    """Return whether signs of life arrive that were not sent yet."""
    before = len(manager.values("WATCHDOG"))
    await asyncio.sleep(seconds)  # several intervals of the tests' watchdog
    return len(manager.values("WATCHDOG")) > before


async def test_signs_of_life_are_sent_while_a_worker_and_a_frontend_are_ready(manager, reporting):
    reporting(slots())
    assert await signs_go_on(manager)


@pytest.mark.parametrize("dead", ["worker", "frontend"])
async def test_signs_of_life_end_when_no_process_of_a_kind_was_ready_for_the_limit(manager, reporting, dead):
    reporting(slots(**{dead: False}), limit_s=0.1)
    await asyncio.sleep(0.15)
    assert not await signs_go_on(manager)


async def test_signs_of_life_go_on_while_a_worker_is_started_again(manager, reporting):
    reporting(slots(worker=False), limit_s=60)
    assert await signs_go_on(manager)


async def test_a_worker_whose_device_is_dead_is_not_alive(manager, reporting):
    found = slots()
    found[0].problem = "no batch has succeeded for 30 s"
    reporting(found, limit_s=0)
    assert not await signs_go_on(manager)


async def test_signs_of_life_return_with_the_worker(manager, reporting):
    found = slots(worker=False)
    reporting(found, limit_s=0)
    assert not await signs_go_on(manager)
    found[0].ready = True
    assert await signs_go_on(manager)


async def test_a_loop_that_hangs_gives_no_sign_of_life(manager, reporting):
    reporting(slots())
    await asyncio.sleep(0.05)
    before = len(manager.values("WATCHDOG"))
    time.sleep(0.2)  # noqa: ASYNC251 - it hangs
    assert len(manager.values("WATCHDOG")) == before


async def test_a_start_that_goes_on_extends_its_limit_and_gives_no_sign_of_life(manager, reporting):
    reporting(slots(worker=False), started=False)
    assert not await signs_go_on(manager)
    assert set(manager.values("EXTEND_TIMEOUT_USEC")) == {"60000000"}


def test_a_stop_is_reported_with_the_time_that_it_may_take(manager):
    ServiceManager(manager.address, None).stop(43.5)
    (message,) = wait_until(lambda: manager.received, what="a message")
    assert message["STOPPING"] == "1"
    assert message["EXTEND_TIMEOUT_USEC"] == "43500000"


def test_a_socket_that_is_full_delays_the_supervisor_only_for_a_moment(short_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unread:
        unread.bind(str(short_path / "notify"))
        reporter = ServiceManager(str(short_path / "notify"), None)
        while reporter.notify(STATUS="x"):
            pass
        began = time.monotonic()
        reporter.ready(slots())
        assert time.monotonic() - began < 5


async def test_the_status_is_sent_only_when_it_changes(manager, reporting):
    found = slots(worker=False)
    reporting(found)
    await asyncio.sleep(0.1)
    found[0].ready = True
    await asyncio.sleep(0.1)
    assert manager.values("STATUS") == ["Not serving: 0 of 1 workers ready", "Serving: 1 of 1 workers ready"]


def test_an_address_that_starts_with_an_at_sign_is_in_the_abstract_namespace():
    with Manager(f"@twins-test-{os.getpid()}") as manager:
        ServiceManager(manager.address, None).ready(slots())
        wait_until(lambda: manager.received, what="a message")
    assert manager.received == [{"READY": "1", "STATUS": "Serving: 1 of 1 workers ready"}]


@pytest.mark.parametrize("address", ["/nowhere/notify", "vsock:2:1", "/" + 200 * "x"])
def test_a_service_manager_that_cannot_be_reached_is_logged_once(address):
    with capture_logs() as lines:
        reporter = ServiceManager(address, None)
        reporter.ready(slots())
        reporter.stop(1)
    assert [line["event"] for line in lines] == ["the service manager cannot be notified"]


def test_nothing_is_sent_without_a_service_manager():
    with capture_logs() as lines:
        ServiceManager(None, None).ready(slots())
    assert not lines


@pytest.mark.parametrize(
    ("microseconds", "pid", "seconds"),
    [
        ("30000000", "", 30),
        pytest.param("500000", str(os.getpid()), 0.5, id="500000-this process-0.5"),
        ("30000000", "1", None),
        ("0", "", None),
        ("x", "", None),
    ],
)
def test_the_watchdog_is_for_the_process_that_its_variable_names(monkeypatch, microseconds, pid, seconds):
    monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    monkeypatch.setenv("WATCHDOG_PID", pid)
    assert watchdog_s() == seconds


def test_only_the_supervisor_knows_the_service_manager(monkeypatch):
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.setenv(name, "1")
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & child_environment().keys()


def test_the_tests_read_what_systemds_own_program_sends(manager):
    need("systemd-notify")
    environ = {**os.environ, "NOTIFY_SOCKET": manager.address}
    subprocess.run(["systemd-notify", "--ready", "--status=hello", "--no-block"], env=environ, check=True, timeout=10)
    (message,) = wait_until(lambda: manager.received, what="a message")
    assert (message["READY"], message["STATUS"]) == ("1", "hello")


def test_a_service_reports_its_start_its_life_a_dead_worker_and_its_stop(manager):
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "300000"}
    with Server("--model", "twins_svt_nano", environ=environ, wait=False) as server:
        wait_until(lambda: manager.values("READY"), what="READY=1")
        assert server.events("ready")
        assert not manager.values("STOPPING")
        wait_until(lambda: manager.values("WATCHDOG"), what="a sign of life")
        os.kill(server.pid("worker-0"), signal.SIGKILL)
        wait_until(lambda: "Not serving: 0 of 1 workers ready" in manager.values("STATUS")[-1], what="its end")
        assert server.stop() == 0
    wait_until(lambda: manager.values("STOPPING"), what="STOPPING=1")
    assert manager.values("STATUS")[-1].startswith("Stopping")
    assert manager.values("READY") == ["1"]
