"""A scenario: a fault or a load, what is promised about it, and what is measured of it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.server import Server
from tests.soak.samples import Sample

DEADLINE_S = 30.0  # of every request, unless a client or a setting changes it


@dataclass(frozen=True)
class Report:
    """What the clients of a scenario saw. A request is answered, refused with an error, or lost."""

    sent: int
    answered: int
    refused: int
    lost: int  # the connection broke, or no answer came
    slowest_s: float  # of the requests that were answered
    recovery_s: float | None = None  # from a fault to the first answer to a request that was sent after it
    figures: Mapping[str, float] = field(default_factory=dict)  # that only this scenario has
    samples: Sequence[Sample] = ()  # of the processes, while the clients were served

    def figure(self, name: str) -> float:
        """Return a figure of this scenario, or a field. What was not measured is NaN."""
        found = self.figures[name] if name in self.figures else getattr(self, name)
        return math.nan if found is None else float(found)


@dataclass(frozen=True)
class Limit:
    """What is promised of one figure."""

    figure: str
    most: float = math.inf
    least: float = -math.inf
    in_tests: float | None = None  # the limit of tests instead, which share their cores with others

    def holds(self, report: Report) -> bool:
        """Return whether the figure is within the limit. NaN is not."""
        return self.least <= report.figure(self.figure) <= self.most

    def passes(self, report: Report) -> bool:
        """Return whether a test passes, on a machine that does other work meanwhile."""
        if self.in_tests is None:
            return self.holds(report)
        measured = report.figure(self.figure)
        return measured <= self.in_tests if self.most < math.inf else measured >= self.in_tests

    def text(self, report: Report) -> str:
        """Return what was measured beside what is promised."""
        promised = f"at most {self.most:g}" if self.most < math.inf else f"at least {self.least:g}"
        return f"{self.figure.replace('_', ' ')} is {report.figure(self.figure):.4g}, promised {promised}"


NOTHING_LOST = (Limit("lost", most=0), Limit("slowest_s", most=DEADLINE_S))
ALL_ANSWERED = (*NOTHING_LOST, Limit("refused", most=0))


def nothing_is_missing() -> str:
    """Say that a scenario can run on every machine."""
    return ""


@dataclass(frozen=True)
class Scenario:
    """One row of the table of docs/reliability.md."""

    name: str
    fault: str
    promise: str
    run: Callable[[Server, int], Report]  # with a service that is ready, and how long
    short: int  # rounds, seconds or requests
    long: int
    long_s: int  # what the long form takes on two idle cores, with the start of the service
    limits: tuple[Limit, ...] = ALL_ANSWERED
    flags: tuple[str, ...] = ()
    server: Callable[..., Server] = Server  # which service is started with the flags
    missing: Callable[[], str] = nothing_is_missing  # says what this machine lacks

    def measure(self, *, short: bool) -> Report:
        """Start a service, cause the fault, and return what was measured."""
        with self.server(*self.flags) as service:
            return self.run(service, self.short if short else self.long)

    def broken(self, report: Report, kept: Callable[[Limit, Report], bool] = Limit.holds) -> list[str]:
        """Return what was not kept, with the figures."""
        return [limit.text(report) for limit in self.limits if not kept(limit, report)]
