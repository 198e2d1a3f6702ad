"""The workers as a frontend sees them: who is ready, who has least to do, and what to send again when one dies."""

import asyncio
import itertools
from dataclasses import dataclass

from service import logs, metrics
from service.errors import DeadlineExceeded, Internal, Overloaded, Refused, ServiceError, Unavailable
from service.ipc.transport import Abandon, Array, Dialler, Done, Failed, Fleet, Job, Running, WorkerInfo
from twins.tasks.sample import Output, Sample

CRASHES = 2  # a sample that was on the device in so many is answered with an error and never sent again
LOSSES = 5  # the same for one that only waited there: it is hardly to blame, but nobody waits for ever
RETRY_AFTER_S = 2  # about what a worker takes to come back

log = logs.get()

TOLD = {error.code: error for error in (DeadlineExceeded, Internal, Overloaded, Unavailable)}
"""What a worker may answer instead of an output."""


class WorkerLost(Exception):
    """The worker died with the sample in flight; `running`: on the device, so that the sample may be why."""

    def __init__(self, worker: str, *, running: bool) -> None:
        super().__init__(worker)
        self.running = running


@dataclass(frozen=True)
class Forwarded:
    """A sample's output, and where its time went. Seconds."""

    output: Output
    queue_s: float
    infer_s: float
    batch_size: int


class Link:
    """The line to one worker process, and the samples in flight there."""

    def __init__(self, info: WorkerInfo) -> None:
        self.name = info.name
        self.dialler = Dialler(info.address)
        self.pending: dict[int, asyncio.Future[Forwarded]] = {}
        self.running: set[int] = set()
        self.receiving = asyncio.create_task(self.receive())
        self.receiving.add_done_callback(self.on_broken)

    async def ask(self, job: Job, sample: Sample) -> Forwarded:
        """One sample's output. Raises ServiceError, and WorkerLost if the worker dies first."""
        answer: asyncio.Future[Forwarded] = asyncio.get_running_loop().create_future()
        self.pending[job.id] = answer
        try:
            await self.dialler.send(job, [sample.pixels])
            return await answer
        except asyncio.CancelledError:
            if not answer.done():
                answer.cancel()
            if not self.dialler.socket.closed:
                await self.dialler.send(Abandon(job.id))
            raise
        finally:
            del self.pending[job.id]
            self.running.discard(job.id)

    async def receive(self) -> None:
        """Hands out the worker's answers."""
        while True:
            message, arrays = await self.dialler.receive()
            if isinstance(message, Running):
                self.running.update(self.pending.keys() & set(message.ids))
                continue
            assert isinstance(message, Done | Failed)
            self.running.discard(message.id)
            answer = self.pending.get(message.id)
            if answer is None or answer.done():  # abandoned meanwhile
                continue
            if isinstance(message, Done):
                answer.set_result(forwarded(message, arrays))
            else:
                answer.set_exception(told(message))

    def on_broken(self, task: asyncio.Task[None]) -> None:
        """A line on which nobody hears must not keep its samples waiting."""
        if not task.cancelled() and (error := task.exception()):
            log.error("link broke", worker=self.name, exc_info=error)
            self.give_back()

    def close(self) -> None:
        """The worker is gone: whoever waits for it is told."""
        self.receiving.cancel()
        self.dialler.close()
        self.give_back()

    def give_back(self) -> None:
        """Tells whoever waits that the worker will not answer."""
        for job, answer in self.pending.items():
            if not answer.done():
                answer.set_exception(WorkerLost(self.name, running=job in self.running))


class WorkerPool:
    """All workers. `update` is called with every change that the supervisor reports."""

    def __init__(self) -> None:
        self.links: dict[str, Link] = {}
        self.recovering = False
        self.changed = asyncio.Event()
        self.ids = itertools.count()

    @property
    def ready(self) -> int:
        """How many workers can take samples now."""
        return len(self.links)

    @property
    def promising(self) -> bool:
        """Whether a sample that is admitted now will find a worker soon."""
        return self.ready > 0 or self.recovering

    def update(self, fleet: Fleet) -> None:
        """Dials new workers, hangs up on dead ones."""
        serving = {worker.name: worker for worker in fleet.workers if worker.state == "ready"}
        for name in self.links.keys() - serving.keys():
            self.links.pop(name).close()
        for name in serving.keys() - self.links.keys():
            self.links[name] = Link(serving[name])
        self.recovering = any(worker.state == "recovering" for worker in fleet.workers)
        self.changed.set()
        self.changed = asyncio.Event()

    async def submit(self, model: str, sample: Sample, *, expires: float, coming: int = 0) -> Forwarded:
        """One sample through one model, on another worker if the first one dies. Raises ServiceError."""
        crashes = 0
        for losses in range(LOSSES):
            link = await self.least_busy()
            if losses:
                metrics.retried(model)
            try:
                job = Job(next(self.ids), model, expires, coming, sample.output_size, sample.confidence)
                return await link.ask(job, sample)
            except WorkerLost as lost:
                log.warning("worker lost with a sample in flight", worker=link.name, model=model, running=lost.running)
                crashes += lost.running
            if crashes == CRASHES:
                break
        raise Internal("the worker died again and again while it had this image")

    async def least_busy(self) -> Link:
        """The ready worker with the least outstanding work; waits for one that is coming back. Raises Unavailable."""
        while not self.links:
            if not self.promising:
                raise no_worker()
            await self.changed.wait()
        return min(self.links.values(), key=lambda link: len(link.pending))

    def close(self) -> None:
        """Hangs up on everybody."""
        for link in self.links.values():
            link.close()
        self.links.clear()


def no_worker() -> ServiceError:
    """What clients are told while nobody is there to work."""
    return Unavailable("no worker is ready; models may still be loading", retry_after_s=RETRY_AFTER_S)


def told(failed: Failed) -> ServiceError:
    """A worker's refusal as clients are told it."""
    kind = TOLD.get(failed.code, Internal)
    return kind(failed.detail, retry_after_s=RETRY_AFTER_S if issubclass(kind, Refused) else None)


def forwarded(done: Done, arrays: tuple[Array, ...]) -> Forwarded:
    """A worker's answer as the engine wants it."""
    return Forwarded(Output(arrays), done.queue_s, done.infer_s, done.batch_size)
