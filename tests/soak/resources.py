"""What a process needs of its machine and does not get: files, descriptors, a clock, a reader of the log."""

import fcntl
import os
import resource
import shutil
import socket
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from tests.clock_offset import COMPILER, ClockOffset
from tests.server import Server, wait_until
from tests.soak.flood import Flooding, Target, flooder
from tests.soak.load import Load
from tests.soak.processes import ENOUGH, FRESH, KEPT, NANO, address
from tests.soak.samples import runtime_folder
from tests.soak.scenario import ALL_ANSWERED, Limit, Report, Scenario

PIPE_BYTES = 4096
DESCRIPTORS = 160  # of each process; a frontend with the clients of a load has about half
IDLE = 400  # connections that take the rest
HOUR_S = 3600
NOISY, DROPPED_WITHIN_S = 16, 60  # clients that cause lines of the log, and for how long at most


def delete_folder(service: Server, rounds: int) -> Report:
    """Delete the run-time folder."""
    folder, recoveries = runtime_folder(service), []
    with Load(address(service)) as load:
        for _ in range(rounds):
            load.wait_for_answers(ENOUGH)
            began = time.monotonic()
            shutil.rmtree(folder)
            wait_until(lambda: (folder / "control").exists() and any(folder.glob("worker-0.*")), what="the sockets")
            recoveries.append(time.monotonic() - began)
            load.wait_for_answers(ENOUGH)
    return load.report(recovery_s=max(recoveries))


def exhaust_descriptors(service: Server, rounds: int) -> Report:
    """Open connections until the frontend has no descriptor left, and close them."""
    at, recoveries = urlsplit(service.http), []
    with Load(address(service), kinds=KEPT) as load:
        for _ in range(rounds):
            load.wait_for_answers(ENOUGH)
            with ExitStack() as idle:
                for _ in range(IDLE):
                    with suppress(OSError):
                        idle.enter_context(socket.create_connection((at.hostname, at.port), timeout=5))
                load.wait_for_answers(ENOUGH)
            began = time.monotonic()
            with Load(address(service), kinds=FRESH, each=1) as fresh:
                fresh.wait_for_answers(1)
            recoveries.append(fresh.recovery_s(began))
    return load.report(recovery_s=max(recoveries))


class SteppedClock(Server):
    """A service whose clock of the day can be set."""

    def __init__(self, *flags: str) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="t-")
        self.clock = ClockOffset(Path(self.folder.name))
        super().__init__(*flags, environ=self.clock.environ)


def step_clock(service: SteppedClock, seconds: int) -> Report:
    """Set the clock forward by an hour, back by two, and to the true time."""
    with Load(address(service), pause_s=0.01) as load:
        for offset in (HOUR_S, -HOUR_S, 0):
            service.clock.set(offset)
            load.wait_for_answers(ENOUGH)
            load.go_on(seconds)
        load.wait_for_answers(ENOUGH)
    return load.report(restarts=service.metric("twins_process_restarts_total"))


class PipedServer(Server):
    """A service whose log goes to a pipe that can be left unread."""

    def __init__(self, *flags: str) -> None:
        reader, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self.reading, self.reader = True, reader
        self.copier = threading.Thread(target=self.copy, daemon=True)
        try:
            super().__init__(*flags, stderr=writer, wait=False)
        finally:
            os.close(writer)
        self.copier.start()
        self.wait_for("ready")

    def copy(self) -> None:
        """Write what is in the pipe into the log, until the pipe is to be blocked."""
        while self.reading and (text := os.read(self.reader, PIPE_BYTES)):
            self.log_file.write(text)
            self.log_file.flush()

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        os.close(self.reader)


def block_log(service: PipedServer, seconds: int) -> Report:
    """Stop reading the log, and cause lines until some are dropped: requests for nothing are refused the fastest."""
    nothing = Target(f"{service.http}/nothing", b"")
    with flooder() as floods, Load(address(service)) as load:
        load.wait_for_answers(ENOUGH)
        service.reading = False
        end = time.monotonic() + DROPPED_WITHIN_S
        while not dropped(service) and time.monotonic() < end:
            floods.start(Flooding(nothing, NOISY, seconds)).result()
        load.wait_for_answers(ENOUGH)
    return load.report(lines_dropped=dropped(service))


def dropped(service: Server) -> float:
    """Return how many lines of the log were dropped."""
    return service.metric("twins_log_lines_dropped_total")


SCENARIOS = (
    Scenario(
        "run-time-folder-deleted",
        "Another program deletes the run-time folder.",
        "Every request is answered; the folder is there again within a few seconds.",
        delete_folder,
        short=2,
        long=20,
        long_s=60,
        limits=(*ALL_ANSWERED, Limit("recovery_s", most=5, in_tests=30)),
        flags=(*NANO, "--frontends", "2"),
    ),
    Scenario(
        "descriptors-exhausted",
        "Idle connections take all file descriptors of the frontend.",
        "Open connections are served, and new ones again when the idle ones have ended.",
        exhaust_descriptors,
        short=1,
        long=20,
        long_s=60,
        limits=(*ALL_ANSWERED, Limit("recovery_s", most=5, in_tests=30)),
        flags=NANO,
        server=partial(Server, preexec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))),
    ),
    Scenario(
        "clock-steps",
        "The clock of the day steps forward by an hour, back by two, and forward by one.",
        "Every request is answered, and no process is restarted.",
        step_clock,
        short=1,
        long=20,
        long_s=75,
        limits=(*ALL_ANSWERED, Limit("restarts", most=0)),
        flags=NANO,
        server=SteppedClock,
        missing=lambda: "" if COMPILER else "a C compiler",
    ),
    Scenario(
        "log-blocked",
        "Nobody reads the standard error of the service, and the pipe is full.",
        "Every request is answered. Lines are dropped and counted.",
        block_log,
        short=2,
        long=60,
        long_s=75,
        limits=(*ALL_ANSWERED, Limit("lines_dropped", least=1)),
        flags=NANO,
        server=PipedServer,
    ),
)
