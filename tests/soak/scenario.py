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
    loose: float | None = None  # the limit of a short form instead, which shares its cores with other tests

    def is_kept(self, report: Report, *, short: bool) -> bool:
        """Return whether the figure is within the limit. NaN is not."""
        measured = report.figure(self.figure)
        if short and self.loose is not None:
            return measured <= self.loose if self.most < math.inf else measured >= self.loose
        return self.least <= measured <= self.most


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
    limits: tuple[Limit, ...] = ALL_ANSWERED
    flags: tuple[str, ...] = ()
    server: Callable[..., Server] = Server  # which service is started with the flags
    missing: Callable[[], str] = nothing_is_missing  # says what this machine lacks

    def measure(self, *, short: bool) -> Report:
        """Start a service, cause the fault, and return what was measured."""
        with self.server(*self.flags) as service:
            return self.run(service, self.short if short else self.long)

    def broken(self, report: Report, *, short: bool) -> list[str]:
        """Return the figures that are beyond their limits."""
        return [
            f"{limit.figure} is {report.figure(limit.figure):g}"
            for limit in self.limits
            if not limit.is_kept(report, short=short)
        ]
