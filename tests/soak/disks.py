"""A disk without space below the run-time folder and the folder for temporary files."""

import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.disk import fill, small_disk
from tests.faulty.image import plain
from tests.server import Server
from tests.soak.clients import Ask
from tests.soak.images import SMALL
from tests.soak.load import Load
from tests.soak.processes import ENOUGH, NANO, ROUNDS, address
from tests.soak.scenario import ALL_ANSWERED, Limit, Report, Scenario

LARGE = plain(250, 250, 250, side=1200, compress_level=0)  # more than the disk holds


class DiskServer(Server):
    """A service whose temporary files are on a small disk."""

    def __init__(self, *flags: str) -> None:
        self.stack = ExitStack()
        folder = self.stack.enter_context(TemporaryDirectory(prefix="t-"))
        self.disk = self.stack.enter_context(small_disk(Path(folder)))
        super().__init__(*flags, environ={"TMPDIR": str(self.disk)})

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self.stack.close()


def no_mounts() -> str:
    """Say whether a disk can be mounted here."""
    try:
        with TemporaryDirectory() as folder, small_disk(Path(folder)):
            return ""
    except pytest.skip.Exception:
        return "the right to mount a file system in memory"


def fill_disk(service: DiskServer, rounds: int) -> Report:
    """Fill the disk, kill the worker, whose successor starts on the full disk, and make space again."""
    recoveries = []
    asks = (*[Ask(SMALL)] * 20, Ask(LARGE))
    with Load(address(service), asks=asks) as load:
        for number in range(1, rounds + 1):
            load.wait_for_answers(ENOUGH)
            began, filler = time.monotonic(), fill(service.disk)
            load.wait_for_answers(ENOUGH)
            os.kill(service.pid("worker-0"), signal.SIGKILL)
            service.wait_for("worker ready", count=1 + number)
            load.wait_for_answers(ENOUGH)
            filler.unlink()
            recoveries.append(load.recovery_s(began))
    restarts = service.metric("twins_process_restarts_total")
    return load.report(recovery_s=max(recoveries), restarts_beyond_kills=restarts - rounds)


SCENARIOS = (
    Scenario(
        "disk-full",
        "The disk below the run-time folder and the temporary files is full, and the worker is killed meanwhile.",
        "Every request is answered. Metrics stay in memory until there is space.",
        fill_disk,
        short=1,
        long=ROUNDS,
        long_s=60,
        limits=(*ALL_ANSWERED, Limit("restarts_beyond_kills", most=0)),
        flags=NANO,
        server=DiskServer,
        missing=no_mounts,
    ),
)
