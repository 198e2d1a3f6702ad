"""Frontends, a router and workers in simulated time."""

import itertools
import math
import random
from array import array
from bisect import bisect
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import simpy

from bench.simulation.queues import Image, Queue
from bench.simulation.routing import POLICIES, zipf
from bench.simulation.service_times import Times
from service.ipc.pool import MAX_CRASHES
from service.load.schedule import Open

REPORT_S = 0.1  # between two reports of the workers
Steps = Generator[simpy.Event, None, None]


@dataclass(frozen=True)
class Failure:
    """Workers that die at a time, and serve again after a while."""

    at_s: float
    workers: Sequence[int]
    restart_s: float


@dataclass(frozen=True)
class Scenario:
    """One run: the load, the cluster and what happens to it."""

    times: Times
    policy: str
    rate: float  # images a second in all
    seconds: float  # for which images arrive
    workers: int = 1
    frontends: int = 1
    per_host: int = 8  # workers
    models: int = 1
    model_skew: float = 0.0  # exponent of the shares of the models
    shares: Sequence[float] = ()  # of the images, by frontend; equal ones if there are none
    prepare_s: float = 0.0  # for which an image occupies its frontend before it is sent
    deadline_s: float = math.inf
    max_queue: float = math.inf  # images in flight in a frontend
    failures: Sequence[Failure] = ()
    warm_up_s: float = 0.0  # whose images are not counted
    seed: int = 0


@dataclass
class Outcome:
    """What became of the images. Times are in seconds."""

    began: array = field(default_factory=lambda: array("d"))  # of the batch of each image that ran
    waited: array = field(default_factory=lambda: array("d"))  # for a device, since it was first sent
    latency: array = field(default_factory=lambda: array("d"))  # until its batch ended
    batches: int = 0
    images: int = 0  # in these batches
    refused: int = 0
    expired: int = 0
    failed: int = 0  # after the crashes of several workers
    retried: int = 0
    busy_s: float = 0.0


class Cluster:
    """A scenario while it runs."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario, self.env, self.outcome = scenario, simpy.Environment(), Outcome()
        self.source = random.Random(f"workers {scenario.seed}")  # independent of the arrivals of the same seed
        policy = POLICIES[scenario.policy]
        self.router = policy.router(
            workers=scenario.workers, frontends=scenario.frontends, source=self.source, per_host=scenario.per_host
        )
        limits = {"models": scenario.models, "max_batch": scenario.times.max_batch}
        self.queues = [Queue(**limits) for _ in range(1 if policy.select == "central" else scenario.workers)]
        self.shared = self.queues[0] if policy.select == "central" else None
        self.queues *= scenario.workers // len(self.queues)
        self.in_flight = [0] * scenario.frontends
        self.held: deque[Image] = deque()  # while no worker is up
        self.up = scenario.workers
        self.shares = list(itertools.accumulate(zipf(scenario.models, scenario.model_skew)))
        self.processes = [self.env.process(self.worker(number)) for number in range(scenario.workers)]

    # ------------------------------------------------------------------ frontends

    def frontend(self, number: int, due_times: Iterable[float]) -> Steps:
        """Send the images that are due, one after the other."""
        scenario, env = self.scenario, self.env
        free = 0.0
        for due in itertools.takewhile(lambda due: due < scenario.seconds, due_times):
            free = max(due, free) + scenario.prepare_s
            yield env.timeout(free - env.now)
            self.admit(number, due)

    def admit(self, frontend: int, due: float) -> None:
        """Send a new image to a worker, or refuse it."""
        if self.in_flight[frontend] >= self.scenario.max_queue:
            self.outcome.refused += self.counts(due)
            return
        self.in_flight[frontend] += 1
        model = bisect(self.shares, self.source.random()) if self.scenario.models > 1 else 0
        self.send(Image(min(model, self.scenario.models - 1), frontend, self.env.now, due + self.scenario.deadline_s))

    def counts(self, now: float) -> bool:
        """Return whether the warm-up is over."""
        return now >= self.scenario.warm_up_s

    def send(self, image: Image) -> None:
        """Send an image to a worker, or keep it until one is up."""
        if self.shared is not None:
            self.shared.add(image)
        elif self.up:
            self.queues[self.router.route(image.frontend)].add(image)
        else:
            self.held.append(image)

    # ------------------------------------------------------------------ workers

    def worker(self, number: int) -> Steps:
        """Run batches, and start again after a failure."""
        while True:
            running: list[Image] = []
            try:
                while True:
                    yield from self.batch(number, running)
            except simpy.Interrupt as failure:
                self.lose(number, running)
                yield self.env.timeout(failure.cause)
                self.restart(number)

    def batch(self, number: int, running: list[Image]) -> Steps:
        """Wait for images, and run one batch of them. `running` has them meanwhile."""
        env, queue = self.env, self.queues[number]
        if not queue:
            woken = env.event()
            queue.idle.append(woken)
            try:
                yield woken
            except simpy.Interrupt:
                if woken in queue.idle:
                    queue.idle.remove(woken)
                raise
        batch, expired = queue.take(env.now)
        if expired:
            self.expire(number, expired)
        if batch:
            running += batch
            took_s = self.scenario.times.draw(len(batch), self.source)
            began = env.now + self.scenario.times.start_s
            yield env.timeout(took_s)
            queue.ended(batch[0].model, took_s)
            running.clear()
            self.finish(number, batch, began, took_s)

    def expire(self, number: int, images: Sequence[Image]) -> None:
        """Count images whose deadline passed while they waited."""
        for image in images:
            self.leave(number, image)
            self.outcome.expired += self.counts(image.sent)

    def leave(self, number: int, image: Image) -> None:
        """Note that an image is no longer in flight."""
        self.in_flight[image.frontend] -= 1
        if self.shared is None:
            self.router.done(image.frontend, number)

    def finish(self, number: int, batch: Sequence[Image], began: float, took_s: float) -> None:
        """Count a batch that has ended, and tell the senders."""
        outcome = self.outcome
        for image in batch:
            self.leave(number, image)
        if self.counts(began):
            outcome.batches += 1
            outcome.images += len(batch)
            outcome.busy_s += took_s
            for image in batch:
                outcome.began.append(began)
                outcome.waited.append(began - image.sent)
                outcome.latency.append(self.env.now - image.sent)

    # ------------------------------------------------------------------ failures

    def fail(self, failure: Failure) -> Steps:
        """End workers at a time."""
        yield self.env.timeout(failure.at_s)
        for number in failure.workers:
            self.router.down(number)
            self.up -= 1
        for number in failure.workers:
            self.processes[number].interrupt(failure.restart_s)

    def lose(self, number: int, running: Sequence[Image]) -> None:
        """Send the images of a worker that died again, but for those that were running in too many deaths."""
        if running:
            self.queues[number].ended(running[0].model, 0.0)
        waiting = [] if self.shared is not None else self.queues[number].clear()
        for image in running:
            image.crashes += 1
        for image in (*running, *waiting):
            if image.crashes >= MAX_CRASHES:
                self.outcome.failed += 1
                self.in_flight[image.frontend] -= 1
            else:
                self.outcome.retried += 1
                self.send(image)

    def restart(self, number: int) -> None:
        """Send images to a worker again."""
        self.router.up(number)
        self.up += 1
        while self.held:
            self.send(self.held.popleft())

    # ------------------------------------------------------------------ all

    def report(self) -> Steps:
        """Publish the numbers of all workers regularly."""
        while True:
            self.router.report()
            yield self.env.timeout(REPORT_S)

    def run(self, due_times: Sequence[Iterable[float]]) -> Outcome:
        """Run until all images are done. Return what became of them."""
        sending = [self.env.process(self.frontend(number, times)) for number, times in enumerate(due_times)]
        for failure in self.scenario.failures:
            self.env.process(self.fail(failure))
        if POLICIES[self.scenario.policy].knowledge == "reports":
            self.env.process(self.report())
        self.env.run(self.env.all_of(sending))
        while any(self.in_flight):  # other processes, such as the workers, never end
            self.env.run(self.env.now + self.scenario.times.draw(self.scenario.times.max_batch, self.source))
        return self.outcome


def simulate(scenario: Scenario, due_times: Sequence[Iterable[float]] | None = None) -> Outcome:
    """Return the outcome of a scenario. Without the times at which images are due, they arrive at random."""
    return Cluster(scenario).run(due_times or list(arrivals(scenario)))


def arrivals(scenario: Scenario) -> Iterator[Iterator[float]]:
    """Yield the times at which images are due in each frontend, as independent users send them."""
    equal = [1 / scenario.frontends] * scenario.frontends
    for number, share in enumerate(scenario.shares or equal):
        if share:
            yield Open(scenario.rate * share, scenario.seed * scenario.frontends + number).due_times()
        else:
            yield iter(())
