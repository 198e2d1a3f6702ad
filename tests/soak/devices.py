"""Devices that run out of memory or are lost, and an image that ends every worker."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.faulty.image import plain
from tests.server import Server, wait_until
from tests.soak.clients import Ask
from tests.soak.load import Load, codes
from tests.soak.processes import ENOUGH, NANO, ROUNDS, address, repeated
from tests.soak.scenario import ALL_ANSWERED, Limit, Report, Scenario

RED = (200, 0, 0)  # the colour of the image that a device cannot bear
POISON = Ask(plain(*RED))
TWO = ("--device", "cpu,cpu")


class FaultyServer(Server):
    """A service whose devices have these faults, some of them while `switch` is on."""

    def __init__(self, *flags: str, **faults: object) -> None:
        self.folder = TemporaryDirectory(prefix="t-")
        self.switch = Path(self.folder.name) / "on"
        variables = {f"FAULTY_{name.upper()}": str(value) for name, value in faults.items()}
        super().__init__(*flags, program="tests.faulty", environ={"FAULTY_LOST_WHILE": str(self.switch), **variables})

    @contextmanager
    def lost(self) -> Iterator[None]:
        """Let the device be lost during a block."""
        self.switch.touch()
        yield
        self.switch.unlink()


def run_out_of_memory(service: Server, seconds: int) -> Report:
    """Send batches that do not fit, beside an image that does not fit alone."""
    with (
        Load(address(service), pause_s=0.005) as load,
        Load(address(service), each=1, asks=(POISON,), pause_s=0.1) as large,
    ):
        load.go_on(seconds)
        load.wait_for_answers(ENOUGH)
    others = len(large.outcomes) - codes(large.outcomes)["unavailable"]
    restarts = service.metric("twins_process_restarts_total")
    return load.report(large=len(large.outcomes), large_not_unavailable=others, restarts=restarts)


def lose_device(service: FaultyServer, rounds: int) -> Report:
    """Lose the device, which is there again when the next process looks for it."""
    deaths = 0

    def lose() -> None:
        nonlocal deaths
        deaths += 1
        with service.lost():
            service.wait_for("restarting", count=deaths, role="worker-0")

    return repeated(service, rounds, lose)


def lose_one(service: FaultyServer, seconds: int) -> Report:
    """Lose one of two devices for some time."""
    with Load(address(service)) as load:
        load.wait_for_answers(ENOUGH)
        began = time.monotonic()
        with service.lost():
            service.wait_for("restarting", role="worker-1")
            load.go_on(seconds)
        load.wait_for_answers(ENOUGH)
        back = time.monotonic()
        wait_until(lambda: service.metric("twins_worker_up") == 2, what="the second worker")
        restored_s = time.monotonic() - back
    return load.report(recovery_s=load.recovery_s(began), restored_s=restored_s)


def crash_worker(service: Server, rounds: int) -> Report:
    """Send an image that ends every worker which runs it."""
    accepted = 0
    with Load(address(service), pause_s=0.02) as load:
        for _ in range(rounds):
            load.wait_for_answers(ENOUGH)
            with Load(address(service), kinds=("REST, kept connections",), each=1, asks=(POISON,)) as poison:
                wait_until(lambda: poison.waiting, what="the request")
            accepted += codes(poison.outcomes).total() - codes(poison.outcomes)["internal"]
            wait_until(service.worker_ready, what="a worker")
        began = time.monotonic()
        load.wait_for_answers(ENOUGH)
    deaths = service.metric("twins_process_restarts_total", process="worker-0")
    return load.report(recovery_s=load.recovery_s(began), deaths=deaths, not_internal=accepted)


SCENARIOS = (
    Scenario(
        "device-out-of-memory",
        "The device has memory for two images at a time, and none for one large image.",
        "Batches run in parts, and only the large image gets `unavailable`. No worker ends.",
        run_out_of_memory,
        short=2,
        long=60,
        long_s=70,
        limits=(*ALL_ANSWERED, *(Limit(name, most=0) for name in ("large_not_unavailable", "restarts"))),
        flags=NANO,
        server=partial(FaultyServer, oom_above=2, oom_colour=",".join(map(str, RED))),
    ),
    Scenario(
        "device-lost",
        "The device is lost, and is there again for the next process.",
        "Every request is answered by its deadline.",
        lose_device,
        short=1,
        long=ROUNDS,
        long_s=45,
        flags=NANO,
        server=FaultyServer,
    ),
    Scenario(
        "one-of-two-devices-lost",
        "One of two devices is lost for some time.",
        "The other one answers every request, and both serve when it is back.",
        lose_one,
        short=1,
        long=60,
        long_s=75,
        limits=(*ALL_ANSWERED, Limit("recovery_s", most=2, in_tests=30), Limit("restored_s", most=60)),
        flags=(*NANO, *TWO),
        server=partial(FaultyServer, workers="worker-1"),
    ),
    Scenario(
        "image-that-crashes",
        "An image ends every worker that runs it (SIGSEGV).",
        "It gets `internal` after two deaths. Every other request is answered.",
        crash_worker,
        short=1,
        long=ROUNDS // 2,
        long_s=45,
        limits=(*ALL_ANSWERED, Limit("not_internal", most=0)),
        flags=NANO,
        server=partial(FaultyServer, crash_colour=",".join(map(str, RED)), crash_by="SEGV"),
    ),
)
