"""Measure all servers of one model, in rounds that start each of them by itself."""

import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.rivals import wire
from bench.rivals.contestants import OURS, Contestant
from bench.rivals.generators import Client, Load
from bench.rivals.processes import ServerFailed, started
from tools.documents import ROOT

IMAGE = (ROOT / "examples" / "cat.jpg").read_bytes()
CLIENTS = (1, 8, 32)
SATURATING = 32
SHARE = 0.8
"""The rate of the open loop, as a share of the throughput of the best documented rival."""


@dataclass(frozen=True)
class Schedule:
    """How often and how long to measure."""

    rounds: int
    warm_up_s: int
    closed_s: int
    open_s: int


@dataclass
class Found:
    """What was measured of one model."""

    closed: dict[tuple[str, int], dict[int, Load]] = field(default_factory=lambda: defaultdict(dict))
    """The load of each round, by the server and the number of clients."""
    rate: float = 0.0  # of the open loop, requests a second
    open: dict[str, Load] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def throughput(self, name: str, clients: int = SATURATING) -> float:
        """Return the median throughput of a server over the rounds; 0 if there is none."""
        return median(load.requests_per_s for load in self.closed[name, clients].values())

    def p99_ms(self, name: str) -> float:
        """Return the median of the 99th percentiles of a saturated server."""
        return median(load.p99_ms for load in self.closed[name, SATURATING].values())

    def ratio(self, rivals: Sequence[str]) -> float:
        """Return our throughput divided by the best one of the rivals in the same round, the median over the rounds."""
        best: dict[int, float] = defaultdict(float)
        for name in rivals:
            for number, load in self.closed[name, SATURATING].items():
                best[number] = max(best[number], load.requests_per_s)
        ours = self.closed[OURS.name, SATURATING]
        return median(ours[number].requests_per_s / rate for number, rate in best.items() if number in ours)


def median(values: Iterable[float]) -> float:
    """Return the median; 0 of nothing."""
    listed = list(values)
    return statistics.median(listed) if listed else 0.0


def measure(model: str, contestants: Sequence[Contestant], schedule: Schedule) -> Found:
    """Measure closed loops in rounds, then all servers at one rate. A server that fails does not stop the others."""
    comparison = Comparison(model, schedule, first_answer(model))
    found = comparison.found
    for number in range(schedule.rounds):
        for contestant in contestants:
            comparison.visit(contestant, lambda client, number=number: comparison.closed(client, number))
    best = max((found.throughput(each.name) for each in contestants if each.kind == "documented"), default=0.0)
    found.rate = SHARE * best
    for contestant in contestants if found.rate else ():
        comparison.visit(contestant, comparison.arrivals)
    return found


def first_answer(model: str) -> wire.Best:
    """Return our own five best classes. Raise ServerFailed."""
    with tempfile.TemporaryDirectory() as folder, started(OURS, model) as server:
        return Client(server, wire.REQUESTS[OURS.form](IMAGE), Path(folder)).wait()


@dataclass(frozen=True)
class Comparison:
    """The servers of one model, one after another."""

    model: str
    schedule: Schedule
    expected: wire.Best
    found: Found = field(default_factory=Found)

    def visit(self, contestant: Contestant, measurement: Callable[[Client], None]) -> None:
        """Start a server, check its answer, warm it up and measure it. Note why if it fails."""
        if contestant.name in self.found.failures:
            return
        print(f"{self.model}: {contestant.name}", flush=True)
        try:
            with tempfile.TemporaryDirectory() as folder, started(contestant, self.model) as server:
                client = Client(server, wire.REQUESTS[contestant.form](IMAGE), Path(folder))
                answer = client.wait()
                if not wire.same(answer, self.expected):
                    raise ServerFailed(f"{contestant.name} answers {answer}, not {self.expected}")
                client.closed(SATURATING, self.schedule.warm_up_s)
                measurement(client)
        except (ServerFailed, OSError, ValueError, KeyError) as error:
            self.found.failures[contestant.name] = str(error)
            print(f"{contestant.name} failed: {error}", flush=True)

    def closed(self, client: Client, number: int) -> None:
        """Measure closed loops."""
        for clients in CLIENTS:
            load = client.closed(clients, self.schedule.closed_s)
            self.found.closed[client.server.contestant.name, clients][number] = load

    def arrivals(self, client: Client) -> None:
        """Measure the rate of arrival that all servers get."""
        self.found.open[client.server.contestant.name] = client.arrivals(self.found.rate, self.schedule.open_s)
