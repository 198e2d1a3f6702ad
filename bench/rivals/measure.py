"""Measure all servers of one model, in rounds that start each of them by itself.

The saturated throughput of a server is the best one over all numbers of clients: with too many of them some servers
slow down, and that must not count for the others. Its 99th percentile is the one with the most clients.
"""

import math
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.rivals import wire
from bench.rivals.contestants import OURS, Contestant
from bench.rivals.generators import Client, Load
from bench.rivals.processes import ServerFailed, started
from tools.documents import ROOT

IMAGE = (ROOT / "examples" / "cat.jpg").read_bytes()
CLIENTS = (1, 8, 32)
SATURATING = 32
"""The number of clients of the warm-up, and of the saturated 99th percentile."""
ANSWERS = 20  # that each client of a closed loop gets at least, if that takes no more than
LONGEST = 4  # times the seconds of the schedule
TRIES = 2  # of a server, since some of them do not always start
SHARE = 0.8
"""The rate of the open loop, as a share of the throughput of the best documented rival."""


@dataclass(frozen=True)
class Schedule:
    """How often and how long to measure."""

    rounds: int
    warm_up_s: int
    closed_s: int  # at least; longer where a server is slow
    open_s: int

    def closed_seconds(self, clients: int, rate: float) -> int:
        """Return how long a closed loop lasts whose clients together get answers at this rate per second."""
        longest = LONGEST * self.closed_s
        needed = math.ceil(ANSWERS * clients / rate) if rate else longest
        return min(max(needed, self.closed_s), longest)


@dataclass
class Found:
    """What was measured of one model."""

    closed: dict[tuple[str, int], dict[int, Load]] = field(default_factory=lambda: defaultdict(dict))
    """The load of each round, by the server and the number of clients."""
    rate: float = 0.0  # of the open loop, requests a second
    open: dict[str, list[Load]] = field(default_factory=lambda: defaultdict(list))
    """The load of each round at that rate, by the server."""
    failures: dict[str, str] = field(default_factory=dict)

    def throughput(self, name: str, clients: int) -> float:
        """Return the median throughput of a server with so many clients over the rounds; 0 if there is none."""
        return median(load.requests_per_s for load in self.closed[name, clients].values())

    def saturated(self, name: str) -> float:
        """Return the throughput of a server with the number of clients that suits it best; 0 if there is none."""
        return max(self.throughput(name, clients) for clients in CLIENTS)

    def p99_ms(self, name: str) -> float:
        """Return the median of the 99th percentiles of a saturated server."""
        return median(load.p99_ms for load in self.closed[name, SATURATING].values())

    def ratio(self, rivals: Sequence[str]) -> float:
        """Return our throughput divided by the best one of the rivals in the same round, the median over the rounds.

        Each server has the number of clients that suits it best in that round.
        """
        ours, theirs = self.best_of_rounds([OURS.name]), self.best_of_rounds(rivals)
        return median(ours[number] / theirs[number] for number in ours.keys() & theirs.keys())

    def best_of_rounds(self, names: Iterable[str]) -> dict[int, float]:
        """Return the best throughput of some servers with any number of clients, by the round."""
        best: dict[int, float] = {}
        for loads in (self.closed[name, clients] for name in names for clients in CLIENTS):
            for number, load in loads.items():
                best[number] = max(best.get(number, 0.0), load.requests_per_s)
        return {number: rate for number, rate in best.items() if rate}

    def at_rate(self, name: str) -> Load | None:
        """Return the medians over the rounds of the open loop and the sum of its errors, or None without rounds."""
        loads = self.open[name]
        if not loads:
            return None
        medians = (median(getattr(load, each) for load in loads) for each in ("requests_per_s", "p50_ms", "p99_ms"))
        return Load(*medians, errors=sum(load.errors for load in loads))


def median(values: Iterable[float]) -> float:
    """Return the median; 0 of nothing."""
    listed = list(values)
    return statistics.median(listed) if listed else 0.0


def measure(
    model: str, contestants: Sequence[Contestant], schedule: Schedule, failures: Mapping[str, str] = {}
) -> Found:
    """Measure closed loops in rounds, then all servers at one rate in as many rounds.

    A server that fails does not stop the others. Those that failed before are left out.
    """
    found = Found(failures=dict(failures))
    comparison = Comparison(model, schedule, first_answer(model), found)
    for number in range(schedule.rounds):
        for contestant in contestants:
            comparison.visit(contestant, partial(comparison.closed, number=number))
    found.rate = SHARE * max(
        (found.saturated(each.name) for each in contestants if each.kind == "documented"), default=0.0
    )
    for _ in range(schedule.rounds if found.rate else 0):
        for contestant in contestants:
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
    found: Found

    def visit(self, contestant: Contestant, measurement: Callable[[Client, Load], None]) -> None:
        """Measure a server, once more if it fails. Note why if it fails again."""
        if contestant.name in self.found.failures:
            return
        failure = ""
        for _ in range(TRIES):
            try:
                self.try_once(contestant, measurement)
            except (ServerFailed, OSError, ValueError, KeyError) as error:
                failure = str(error)
                print(f"{contestant.name} failed: {failure}", flush=True)
            else:
                return
        self.found.failures[contestant.name] = failure

    def try_once(self, contestant: Contestant, measurement: Callable[[Client, Load], None]) -> None:
        """Start a server, check its answer, warm it up and measure it. Raise ServerFailed and others if it fails."""
        print(f"{self.model}: {contestant.name}", flush=True)
        with tempfile.TemporaryDirectory() as folder, started(contestant, self.model) as server:
            client = Client(server, wire.REQUESTS[contestant.form](IMAGE), Path(folder))
            answer = client.wait()
            if not wire.same(answer, self.expected):
                raise ServerFailed(f"{contestant.name} answers {answer}, not {self.expected}")
            warm_up = client.closed(SATURATING, self.schedule.warm_up_s)
            measurement(client, warm_up)

    def closed(self, client: Client, warm_up: Load, number: int) -> None:
        """Measure closed loops, which last longer where the warm-up or a single request was slow."""
        for clients in CLIENTS:
            rate = min(warm_up.requests_per_s, clients / client.fastest_s)
            load = client.closed(clients, self.schedule.closed_seconds(clients, rate))
            self.found.closed[client.server.contestant.name, clients][number] = load

    def arrivals(self, client: Client, _: Load) -> None:
        """Measure the rate of arrival that all servers get."""
        self.found.open[client.server.contestant.name].append(client.arrivals(self.found.rate, self.schedule.open_s))
