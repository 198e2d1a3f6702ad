"""Compare the simulation with the service on this machine.

Each point has a load that is compared, and others before and after it, at the same rate, that give the service times.
Two simulations are compared with it. The predicted one knows when the images were due and the service times of the
other loads. The replayed one knows when the samples arrived at the workers and the service times of the same load: what
is left is the error of the batching and routing alone.

There is one frontend with one decode thread, and an image of the network's own size, so that the workers are the limit
as far as two cores allow.
"""

import asyncio
import io
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from bench.result import Row
from bench.service import clients
from bench.simulation.cluster import Scenario, simulate
from bench.simulation.delays import figures, mean_figures, relative
from bench.simulation.recording_worker import EVENT
from bench.simulation.records import Batch, batches, times_of, waits
from bench.simulation.service_times import MeasuredTimes
from service.load.schedule import Open
from tests.server import Server, wait_until
from tools.documents import ROOT

MODEL, SIDE = "twins_svt_nano", 112
MAX_BATCH = 8
POLICY = "least-own"  # of service.ipc.pool
SATURATING = 16  # clients of each worker
WARM_UP_S, SATURATE_S = 1.5, 3.0
RUNS = 5  # of the simulation, with other service times from the same distribution
BEFORE, COMPARED, AFTER = 1, 2, 3  # seeds of the loads
SERVICE_TIMES = "service-times.json"


@dataclass(frozen=True)
class Setup:
    """A service that is compared with the simulation."""

    device: str
    program: str
    workers: int


DEVICES = {"nano on a CPU": "bench.simulation.recording_service", "timed": "bench.simulation.timed_service"}
"""The device of the workers, and the service with it. The timed one takes no processor from the others."""

SETUPS = [Setup(device, program, workers) for device, program in DEVICES.items() for workers in (1, 2)]
UTILISATIONS = (0.5, 0.8, 0.9)
KEPT = ("nano on a CPU", 1, 0.8)  # the point whose service times `thousand` uses


@dataclass(frozen=True)
class Measured:
    """What a load was like in the service."""

    batches: Sequence[Batch]
    seconds: float
    answered: int
    others: int  # answers that are not 200
    frontend_s: float  # of processor time per image

    @property
    def mean_batch(self) -> float:
        """Return the mean size of a batch."""
        return sum(batch.size for batch in self.batches) / max(1, len(self.batches))


def image() -> bytes:
    """Return the example as a JPEG of the network's size."""
    written = io.BytesIO()
    with Image.open(ROOT / "examples" / "cat.jpg") as opened:
        opened.resize((SIDE, SIDE)).save(written, "JPEG", quality=90)
    return written.getvalue()


class Service:
    """A running service with recording workers."""

    def __init__(self, server: Server, body: bytes) -> None:
        self.server, self.urls, self.body = server, [f"{server.http}/classify"], body

    def saturated(self, clients_: int, seconds: float) -> tuple[float, list[Batch]]:
        """Return how many images a second the service answers in closed loop, and the batches."""
        clients.closed(self.urls, self.body, clients=clients_, seconds=WARM_UP_S)
        rate = clients.closed(self.urls, self.body, clients=clients_, seconds=seconds).rate(200)
        return rate, self.recorded(0)

    def load(self, rate: float, seconds: float, seed: int) -> Measured:
        """Return what an open loop was like."""
        before, cpu_s = len(self.server.events(EVENT)), self.server.cpu_s("frontend-0")
        made = clients.Clients(self.urls, self.body)
        load = asyncio.run(clients.measure(made, seconds, lambda each: each.open(rate, seconds, seed)))
        cpu_s = self.server.cpu_s("frontend-0") - cpu_s
        answered = load.count(200)
        wait_until(lambda: sum(b.size for b in self.recorded(before)) >= answered, what="the records of all batches")
        return Measured(
            self.recorded(before), seconds, answered, len(load.answers) - answered, cpu_s / max(1, len(load.answers))
        )

    def recorded(self, after: int) -> list[Batch]:
        """Return the batches after some earlier ones."""
        return batches(self.server.events(EVENT)[after:])


def simulated(scenario: Scenario, due_times: Sequence[float]) -> dict[str, float]:
    """Return the figures of simulations of a load, and their mean batch."""
    found = []
    for run in range(RUNS):
        outcome = simulate(replace(scenario, seed=run), [due_times])
        found.append({**figures(outcome.waited), "batch": outcome.images / outcome.batches})
    return mean_figures(found)


def point(
    service: Service, setup: Setup, others: Sequence[Batch], load: tuple[float, float, float]
) -> tuple[Row, MeasuredTimes]:
    """Return the row of one load, and the service times at its rate. `load`: utilisation, rate and seconds."""
    utilisation, rate, seconds = load
    before = service.load(rate, seconds / 4, BEFORE)
    compared = service.load(rate, seconds, COMPARED)
    after = service.load(rate, seconds / 4, AFTER)
    times = times_of([*before.batches, *after.batches], others, max_batch=MAX_BATCH)
    own_times = times_of(compared.batches, others, max_batch=MAX_BATCH)
    frontend_s = (before.frontend_s + after.frontend_s) / 2
    base = Scenario(times, POLICY, rate, math.inf, workers=setup.workers)
    due = list(itertools.takewhile(lambda at: at < seconds, Open(rate, COMPARED).due_times()))
    arrived = sorted(at for batch in compared.batches for at in batch.arrived)
    found = {
        "measured": {**figures(waits(compared.batches)), "batch": compared.mean_batch},
        "predicted": simulated(replace(base, prepare_s=frontend_s), due),
        "replayed": simulated(replace(base, times=own_times), [at - arrived[0] for at in arrived]),
    }
    return {
        "device": setup.device,
        "workers": setup.workers,
        "utilisation": utilisation,
        "images/s": round(rate, 1),
        "images": compared.answered,
        "others": compared.others,
        **{f"{name}, {kind}": round(value, 2) for kind, each in found.items() for name, value in each.items()},
        **{
            f"{name}, {kind}, error": round(relative(found[kind][name], measured), 3)
            for kind in ("predicted", "replayed")
            for name, measured in found["measured"].items()
        },
        "frontend_ms": round(1000 * frontend_s, 2),
        "start_ms": round(1000 * times.start_s, 2),
    }, times


def compare(setup: Setup, utilisations: Sequence[float], seconds: float) -> Iterator[tuple[Row, MeasuredTimes]]:
    """Yield the row of each utilisation of one service, and its service times."""
    flags = ("--device", ",".join(["cpu"] * setup.workers), "--model", MODEL, "--threads", "1")
    limits = ("--max-batch", str(MAX_BATCH), "--decode-threads", "1")
    with Server(*flags, *limits, program=setup.program) as server:
        service = Service(server, image())
        capacity, found = service.saturated(SATURATING * setup.workers, min(SATURATE_S, seconds))
        for utilisation in utilisations:
            yield point(service, setup, found, (utilisation, utilisation * capacity, seconds))


def write_times(times: MeasuredTimes, row: Row, folder: Path) -> None:
    """Write the service times that other simulations use."""
    folder.mkdir(parents=True, exist_ok=True)
    origin = {name: row[name] for name in ("device", "workers", "utilisation", "images/s")}
    document = {"measured_with": origin, **asdict(times)}
    (folder / SERVICE_TIMES).write_text(json.dumps(document) + "\n", "utf-8")


def read_times(folder: Path) -> MeasuredTimes:
    """Return the service times that `check` wrote."""
    document: Mapping[str, Any] = json.loads((folder / SERVICE_TIMES).read_text("utf-8"))
    return MeasuredTimes(tuple(map(tuple, document["durations_s"])), document["start_s"])
