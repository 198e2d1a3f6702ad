"""Which worker an image is sent to, by what the sender knows of the workers."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Knowledge = Literal["own", "all", "reports"]
"""A frontend's own images in flight, everybody's at once, or everybody's at the time of the last report."""

DOWN = -1


class Counts:
    """The images outstanding at each worker, and the lowest of these numbers."""

    def __init__(self, workers: int) -> None:
        self.counts = [0] * workers
        self.levels = [workers]  # how many workers have so many images
        self.least = 0
        self.next = 0  # where the search for the lowest number goes on

    def add(self, worker: int) -> None:
        """Count an image that is sent."""
        count = self.counts[worker]
        self.move(worker, count, count + 1)

    def remove(self, worker: int) -> None:
        """Count an image that is done."""
        count = self.counts[worker]
        self.move(worker, count, count - 1)

    def down(self, worker: int) -> None:
        """Remove a worker that has died."""
        self.move(worker, self.counts[worker], DOWN)

    def up(self, worker: int) -> None:
        """Count a worker that has started, without images."""
        self.move(worker, DOWN, 0)

    def move(self, worker: int, old: int, new: int) -> None:
        """Change the number of one worker."""
        self.counts[worker] = new
        if old != DOWN:
            self.levels[old] -= 1
        if new != DOWN:
            if new == len(self.levels):
                self.levels.append(0)
            self.levels[new] += 1
            self.least = min(self.least, new)
        while self.least < len(self.levels) - 1 and not self.levels[self.least]:
            self.least += 1

    def first(self) -> int:
        """Return the first worker with the lowest number."""
        return self.counts.index(self.least)

    def rotating(self) -> int:
        """Return the next worker with the lowest number, in turns."""
        try:
            found = self.counts.index(self.least, self.next)
        except ValueError:
            found = self.counts.index(self.least)
        self.next = found + 1
        return found


class Router(Protocol):
    """Sends images to workers, and learns of what becomes of them."""

    def route(self, frontend: int) -> int:
        """Return the worker for an image of a frontend, and count it there."""

    def done(self, frontend: int, worker: int) -> None:
        """Note that a worker has answered an image."""

    def down(self, worker: int) -> None:
        """Note that a worker has died, with all its images."""

    def up(self, worker: int) -> None:
        """Note that a worker is ready again."""

    def report(self) -> None:
        """Publish what the workers know, where the sender goes by reports."""


class Flat:
    """Every frontend sends to every worker."""

    def __init__(self, select: str, knowledge: Knowledge, *, workers: int, frontends: int, source: random.Random):
        self.workers, self.source, self.knowledge = workers, source, knowledge
        shared = knowledge != "own"
        self.known = [Counts(workers)] if shared else [Counts(workers) for _ in range(frontends)]
        if not shared:  # frontends do not begin with the same worker, as they would not after some time
            for counts in self.known:
                counts.next = source.randrange(workers)
        self.by_frontend = self.known * frontends if shared else self.known
        self.reported = list(self.known[0].counts)
        self.lowest = list(range(workers))  # the workers with the lowest number in the report
        self.select: Callable[[Counts], int] = getattr(self, select)

    def route(self, frontend: int) -> int:
        """Return the worker for an image of a frontend, and count it there."""
        counts = self.by_frontend[frontend]
        worker = self.select(counts)
        counts.add(worker)
        return worker

    def done(self, frontend: int, worker: int) -> None:
        """Note that a worker has answered an image."""
        self.by_frontend[frontend].remove(worker)

    def down(self, worker: int) -> None:
        """Note that a worker has died, with all its images."""
        for counts in self.known:
            counts.down(worker)

    def up(self, worker: int) -> None:
        """Note that a worker is ready again."""
        for counts in self.known:
            counts.up(worker)

    def report(self) -> None:
        """Publish the numbers of all workers."""
        self.reported = list(self.known[0].counts)
        least = self.known[0].least
        self.lowest = [worker for worker, count in enumerate(self.reported) if count == least]

    # ------------------------------------------------------------------ how to select

    def random(self, counts: Counts) -> int:
        """Return any worker that is up."""
        while counts.counts[worker := int(self.source.random() * self.workers)] == DOWN:
            pass
        return worker

    def in_turn(self, counts: Counts) -> int:
        """Return the next worker that is up."""
        while counts.counts[worker := counts.next % self.workers] == DOWN:
            counts.next += 1
        counts.next = worker + 1
        return worker

    def least_first(self, counts: Counts) -> int:
        """Return the worker with the fewest images, of equal ones the first in the list."""
        return counts.first()

    def least(self, counts: Counts) -> int:
        """Return the worker with the fewest images, of equal ones each in turn."""
        if self.knowledge == "reports":
            while counts.counts[worker := self.source.choice(self.lowest)] == DOWN:
                self.report()
            return worker
        return counts.rotating()

    def two(self, counts: Counts) -> int:
        """Return the one of two random workers that has fewer images."""
        one, other = self.random(counts), self.random(counts)
        known = self.reported if self.knowledge == "reports" else counts.counts
        return one if known[one] <= known[other] else other


class Hosts:
    """A balancer chooses a host by all images there, and the host's frontend one of its workers by its own images."""

    def __init__(  # noqa: PLR0913 - a cluster has as many dimensions
        self,
        select: str,
        inner: str,
        *,
        workers: int,
        frontends: int,
        source: random.Random,
        per_host: int,
    ) -> None:
        self.per_host, self.source, self.select = per_host, source, select
        self.hosts = workers // per_host
        self.per_frontend = frontends // self.hosts
        self.balancer = Flat(
            select if select != "pinned" else "random", "all", workers=self.hosts, frontends=1, source=source
        )
        self.inside = [
            Flat(inner, "own", workers=per_host, frontends=self.per_frontend, source=source) for _ in range(self.hosts)
        ]
        self.alive = [per_host] * self.hosts
        self.chosen: dict[int, list[int]] = {}

    def route(self, frontend: int) -> int:
        """Return the worker for an image, and count it there. The frontend only counts if it is pinned to its host."""
        counts = self.balancer.known[0]
        if self.select == "pinned" and self.alive[host := frontend // self.per_frontend]:
            counts.add(host)
        else:
            host = self.balancer.route(0)
        inner = frontend % self.per_frontend
        return host * self.per_host + self.inside[host].route(inner)

    def done(self, frontend: int, worker: int) -> None:
        """Note that a worker has answered an image."""
        host = worker // self.per_host
        self.balancer.done(0, host)
        self.inside[host].done(frontend % self.per_frontend, worker % self.per_host)

    def down(self, worker: int) -> None:
        """Note that a worker has died, with all its images, and that a host without workers is not ready."""
        host, inner = divmod(worker, self.per_host)
        lost = sum(counts.counts[inner] for counts in self.inside[host].known)
        self.inside[host].down(inner)
        for _ in range(lost):
            self.balancer.done(0, host)
        self.alive[host] -= 1
        if not self.alive[host]:
            self.balancer.down(host)

    def up(self, worker: int) -> None:
        """Note that a worker is ready again."""
        host, inner = divmod(worker, self.per_host)
        self.inside[host].up(inner)
        self.alive[host] += 1
        if self.alive[host] == 1:
            self.balancer.up(host)

    def report(self) -> None:
        """Do nothing: no balancer here goes by reports."""


@dataclass(frozen=True)
class Policy:
    """How images find their worker."""

    text: str
    select: str  # a method of Flat; "central" for one queue of all workers; "pinned" for hosts by connection
    knowledge: Knowledge = "all"
    inner: str | None = None  # how a host's frontend selects; None if there are no hosts

    def router(self, *, workers: int, frontends: int, source: random.Random, per_host: int) -> Router:
        """Return a router of this policy."""
        if self.inner is not None:
            return Hosts(
                self.select, self.inner, workers=workers, frontends=frontends, source=source, per_host=per_host
            )
        select = "random" if self.select == "central" else self.select
        return Flat(select, self.knowledge, workers=workers, frontends=frontends, source=source)


POLICIES = {
    "central": Policy("one queue for all workers, the bound of every policy", "central"),
    "least": Policy("fewest in flight, known at once", "least"),
    "two": Policy("fewer of two random workers, known at once", "two"),
    "least-reports": Policy("fewest in flight, by reports", "least", "reports"),
    "two-reports": Policy("fewer of two, by reports", "two", "reports"),
    "least-own": Policy("fewest of the frontend's own in flight", "least", "own"),
    "least-own-first": Policy("the same, but the first of equal workers", "least_first", "own"),
    "two-own": Policy("fewer of two, by the frontend's own in flight", "two", "own"),
    "turns": Policy("each frontend in turn", "in_turn", "own"),
    "random": Policy("at random", "random"),
    "hosts-two": Policy("hosts by two choices, then the frontend's own fewest", "two", inner="least"),
    "hosts-least": Policy("hosts by fewest in flight, then the frontend's own fewest", "least", inner="least"),
    "hosts-random": Policy("hosts at random, then the frontend's own fewest", "random", inner="least"),
    "hosts-random-first": Policy("the same, but the first of equal workers", "random", inner="least_first"),
    "hosts-pinned": Policy("hosts by connection, then the frontend's own fewest", "pinned", inner="least"),
}
"""By name."""


def zipf(number: int, exponent: float) -> Sequence[float]:
    """Return shares that fall with the rank; equal ones for the exponent 0."""
    weights = [1 / rank**exponent for rank in range(1, number + 1)]
    return [weight / sum(weights) for weight in weights]
