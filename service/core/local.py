"""A pool in this process: the models on one device, behind one batcher for each lane.

A worker process is this pool behind a socket; the command line uses it directly.
"""

import asyncio
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from service.core.batcher import USUAL_PRIORITY, Batcher
from service.core.device import BatchResult
from service.core.lane import Lane, Occupancy
from service.core.pool import RETRY_AFTER_S, PoolOutput
from service.core.sample_result import SampleResult, output_of, service_errors
from service.errors import Unavailable
from twins.card import Card
from twins.errors import DeviceLost, DeviceOutOfMemory
from twins.running import AS_THE_OTHERS, BackendChoice, Precision, Running
from twins.runtime.backend import Backend
from twins.runtime.batches import BatchRunner
from twins.tasks.sample import Layout, Sample
from twins.zoo.models import ModelReference


class Key(NamedTuple):
    """What the samples of a batch have in common."""

    model: str  # its key
    layout: Layout
    canary: bool = False  # which no observer sees
    alone: int | None = None  # a number of `LocalPool.alone`, of a sample that has the device to itself

    @property
    def turn(self) -> str | None:
        """Return what takes turns on the device: models, whatever the layouts of their samples; None for the canary."""
        return None if self.canary else self.model

    @property
    def runs_alone(self) -> bool:
        """Return whether no other batch may be on the device meanwhile."""
        return self.alone is not None


@dataclass(frozen=True)
class Queued:
    """One sample in the queue, with the caller's tag for it, and the time of the event loop when it arrived."""

    sample: Sample
    tag: Any
    arrived: float


class Observer:
    """Receives the events of a pool. The methods of this class do nothing."""

    def batch_starts(self, tags: Sequence[Any]) -> None:
        """Handle the start of a batch, before the samples with these tags go to the device."""

    def batch_ended(self, model: str, tags: Sequence[Any], ran: BatchResult) -> None:
        """Handle the end of a batch, before any of its samples is answered."""

    def device_lost(self, error: DeviceLost) -> None:
        """Handle the loss of the device, before any sample of the batch is answered."""


class LocalPool:
    """The models on one device.

    Batches, the warm-up of models and their unloading happen in the thread of the device. Only loading, which copies
    weights to the device, happens in another. A device that may be used from several threads warms up models in others,
    and has a second lane, and so a second thread, for models whose batches take long.
    """

    backend: Backend

    def __init__(
        self,
        open_backend: Callable[[Running], Backend],
        *,
        max_batch: int | None = None,
        max_delay_s: float = 0.0,
        has_upcoming: Callable[[], bool] = lambda: False,
        observer: Observer | None = None,
    ) -> None:
        """`open_backend` runs in the device's thread. If `max_batch` is None, each task has its own default.

        A model may have other limits, and another backend on the same device.
        """
        self.open_backend, self.configured_batch, self.configured_delay_s = open_backend, max_batch, max_delay_s
        self.has_upcoming, self.observer = has_upcoming, observer or Observer()
        self.models: dict[str, BatchRunner] = {}  # by key
        self.delays_s: dict[str, float] = {}  # of the models that do not wait as long as the others
        self.backends: dict[tuple[BackendChoice | None, Precision | None], Backend] = {}
        self.opening = asyncio.Lock()
        self.on_change: list[Callable[[], None]] = []
        self.lost = False
        self.succeeded = -math.inf  # when a batch last succeeded, or a warm-up did; time of the event loop
        self.alone = itertools.count(1)  # a number for each sample that runs alone
        self.occupancy = Occupancy()
        self.lanes = [self.lane()]  # the last one is for models whose batches take long

    def lane(self) -> Lane[Key, Queued, SampleResult]:
        """Return a new lane."""
        batcher: Batcher[Key, Queued, SampleResult] = Batcher(
            self.run_batch,
            max_batch=self.max_batch,
            max_delay_s=self.max_delay_s,
            has_upcoming=self.has_upcoming,
            group=lambda key: key.turn,
        )
        return Lane(batcher)

    # ------------------------------------------------------------------ models

    async def open(self) -> None:
        """Open the device. Raise DeviceMissing."""
        self.backend = await self.backend_for(AS_THE_OTHERS)
        if self.backend.device.any_thread:
            self.lanes.append(self.lane())

    async def backend_for(self, running: Running) -> Backend:
        """Return the backend of a model. Raise DeviceMissing, BackendMissing, BadOption."""
        wanted = (running.backend, running.precision)
        async with self.opening:
            if wanted not in self.backends:
                self.backends[wanted] = await self.lanes[0].threads.call(self.open_backend, running)
        return self.backends[wanted]

    async def load(self, reference: ModelReference, *, warm_up: bool = True) -> Card:
        """Load a model and warm it up; it takes samples after that. Raise TwinsError."""
        running = reference.running
        backend = await self.backend_for(running)
        # not in the device's thread, so that other models run while a file is read
        model = await asyncio.to_thread(backend.load, reference)
        runner = BatchRunner(model, backend.device.kind, max_batch=running.max_batch or self.configured_batch)
        threads = self.lane_of(runner).threads
        warm_up_thread = asyncio.to_thread if self.backend.device.any_thread else threads.call
        try:
            for size in runner.sizes() if warm_up else ():
                if not await warm_up_thread(runner.warm_up, size):
                    break
                self.succeeded = asyncio.get_running_loop().time()
        except BaseException:
            await threads.call(runner.unload)
            raise
        replaced = self.models.get(reference.key)
        self.models[reference.key] = runner
        if running.max_delay_ms is not None:
            self.delays_s[reference.key] = running.max_delay_ms / 1000
        self.notify()
        if replaced:
            await self.lane_of(replaced).threads.call(replaced.unload)
        return runner.card

    async def unload(self, key: str) -> None:
        """Take no more samples for a model, and free its memory. Samples that still wait are refused."""
        runner = self.models.pop(key)
        self.delays_s.pop(key, None)
        self.notify()
        await self.lane_of(runner).threads.call(runner.unload)

    def lane_of(self, runner: BatchRunner | None) -> Lane[Key, Queued, SampleResult]:
        """Return the lane of a model. Samples of a model that is not loaded are refused on the first one."""
        return self.lanes[-1] if runner and runner.takes_long else self.lanes[0]

    def notify(self) -> None:
        """Call the functions in `on_change`."""
        for notify in self.on_change:
            notify()

    @property
    def cards(self) -> dict[str, Card]:
        """Return the cards of the loaded models, by key."""
        return {key: runner.card for key, runner in self.models.items()}

    # ------------------------------------------------------------------ samples

    async def serve(self) -> None:
        """Run batches until cancelled."""
        async with asyncio.TaskGroup() as serving:
            for lane in self.lanes:
                serving.create_task(lane.batcher.serve(in_flight=self.backend.device.in_flight))

    @property
    def expected(self) -> int:
        """Return the number of workers that should be ready."""
        return 1

    @property
    def ready(self) -> int:
        """Return 1 if this pool can take samples now, otherwise 0."""
        return int(bool(self.models) and not self.lost)

    @property
    def problems(self) -> dict[str, str]:
        """Return nothing: no supervisor watches this pool."""
        return {}

    @property
    def available(self) -> bool:
        """Return whether a sample that is submitted now will run."""
        return self.ready > 0

    async def submit(
        self,
        model: str,
        sample: Sample,
        *,
        expires: float = math.inf,
        upcoming: int = 0,  # noqa: ARG002 - of the protocol; a single caller knows it anyway
        priority: int = USUAL_PRIORITY,
    ) -> PoolOutput:
        """Return one sample's output of one model. Cancel the call to abandon the sample. Raise ServiceError."""
        answer = self.start(Key(model, sample.layout), sample, expires=expires, priority=priority)
        with service_errors():
            await answer
        return output_of(answer)

    def start(
        self, key: Key, sample: Sample, *, expires: float, tag: Any = None, priority: int = USUAL_PRIORITY
    ) -> "asyncio.Future[SampleResult]":
        """Return the future of one sample, for `output_of`. Cancel it to abandon the sample."""
        queued = Queued(sample, tag, asyncio.get_running_loop().time())
        batcher = self.lane_of(self.models.get(key.model)).batcher
        return batcher.submit(key, queued, expires=expires, priority=priority)

    def waiting(self) -> dict[str, int]:
        """Return how many samples wait for the device, by model."""
        counts = (counted for lane in self.lanes for counted in lane.batcher.waiting().items())
        return {str(turn): count for turn, count in counts if turn is not None}

    def max_batch(self, key: Key) -> int:
        """Return the largest batch of a model's samples of one layout."""
        runner = self.models.get(key.model)
        if key.canary or key.runs_alone or runner is None:  # samples of an unloaded model are refused one by one
            return 1
        return runner.max_batch(key.layout)

    def max_delay_s(self, key: Key) -> float:
        """Return how long a batch of a model waits to become full."""
        return self.delays_s.get(key.model, self.configured_delay_s)

    @property
    def longest_delay_s(self) -> float:
        """Return the longest time for which a batch of any model waits."""
        return max(self.configured_delay_s, *self.delays_s.values(), 0.0)

    async def run_batch(self, key: Key, batch: list[Queued]) -> list[SampleResult]:
        """Run one batch on the device, when it may."""
        async with self.occupancy.occupied(alone=key.runs_alone):
            return await self.run_now(key, batch)

    async def run_now(self, key: Key, batch: list[Queued]) -> list[SampleResult]:
        """Run one batch on the device."""
        runner = self.models.get(key.model)
        if self.lost or runner is None:
            raise Unavailable(f"the model {key.model} is not loaded here", retry_after_s=RETRY_AFTER_S)
        if not key.canary:
            self.observer.batch_starts([queued.tag for queued in batch])
        samples, overlap = [queued.sample for queued in batch], self.backend.device.in_flight > 1
        try:
            ran = await self.lane_of(runner).threads.run(runner, samples, overlap=overlap)
        except DeviceLost as error:
            self.lost = True
            self.notify()
            self.observer.device_lost(error)
            raise
        if not all(isinstance(output, DeviceOutOfMemory) for output in ran.outputs):
            self.succeeded = asyncio.get_running_loop().time()
        if not key.canary:
            self.observer.batch_ended(key.model, [queued.tag for queued in batch], ran)
        return [
            SampleResult(output, ran.began - queued.arrived, ran.took_s, len(batch), ran.began)
            for queued, output in zip(batch, ran.outputs, strict=True)
        ]

    def busy_s(self) -> float:
        """Return for how long the batch has been running that began first."""
        return max(lane.threads.clock.busy_s() for lane in self.lanes)

    def close(self) -> None:
        """Release the device's threads."""
        for lane in self.lanes:
            lane.threads.close()
