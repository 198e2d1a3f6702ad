"""A pool of worker processes: sends samples to the least busy one, and retries them when a worker exits."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Mapping

from service import logs, metrics
from service.core.batcher import USUAL_PRIORITY
from service.core.pool import RETRY_AFTER_S, PoolOutput, no_worker
from service.errors import DeadlineExceeded, Internal, Overloaded, Refused, ServiceError, Unavailable
from service.ipc.messages import (
    IDENTITY_SEPARATOR,
    Abandon,
    Done,
    Failed,
    Job,
    Result,
    Running,
    WorkerInfo,
    WorkerStates,
)
from service.ipc.transport import Array, ClientSocket
from service.tracing.context import CURRENT
from twins.card import Card
from twins.tasks import encode_params
from twins.tasks.sample import Output, Sample

MAX_CRASHES = 2  # a sample that was on the device in so many crashes gets an error and is not sent again
MAX_LOSSES = 5  # the same for a sample that only waited in those workers

log = logs.get()

SERVING = ("ready", "unloading")  # states in which a model answers calls

WORKER_ERRORS = {error.code: error for error in (DeadlineExceeded, Internal, Overloaded, Unavailable)}
"""The errors that a worker may send instead of an output."""


class WorkerLost(Exception):
    """The worker exited with the sample in flight. If it was `running` on the device, it may be the cause."""

    def __init__(self, worker: str, *, running: bool) -> None:
        super().__init__(worker)
        self.running = running


class WorkerConnection:
    """The connection to one worker process, and the samples in flight there."""

    def __init__(self, info: WorkerInfo, identity: str, on_broken: Callable[["WorkerConnection"], None]) -> None:
        """`identity` begins with this frontend's name and is never used twice."""
        self.info, self.name = info, info.name
        self.report_broken = on_broken
        self.client = ClientSocket(info.address, name=identity)
        self.pending: dict[int, asyncio.Future[PoolOutput]] = {}
        self.running: set[int] = set()
        self.in_flight: Counter[str] = Counter()  # samples that this frontend has there, by model
        self.latest = -1  # the id of the last job that was sent there
        self.receiving = asyncio.create_task(self.receive())
        self.receiving.add_done_callback(self.on_broken)

    def serves(self, model: str) -> bool:
        """Return whether the worker answers calls for a model."""
        return any(status.key == model and status.state in SERVING for status in self.info.models)

    async def ask(self, job: Job, sample: Sample) -> PoolOutput:
        """Return one sample's output. Raise ServiceError, and WorkerLost if the worker exits first."""
        answer: asyncio.Future[PoolOutput] = asyncio.get_running_loop().create_future()
        self.pending[job.id] = answer
        self.latest = job.id
        self.in_flight[job.model] += 1
        try:
            self.client.send(job, [sample.pixels])
            return await answer
        except asyncio.CancelledError:
            if not answer.done():
                answer.cancel()
            if not self.client.closed:
                self.client.send(Abandon(job.id))
            raise
        finally:
            del self.pending[job.id]
            self.in_flight[job.model] -= 1
            self.running.discard(job.id)

    async def receive(self) -> None:
        """Pass the worker's answers to the calls that wait for them."""
        while True:
            message, arrays = await self.client.receive()
            if isinstance(message, Running):
                self.running.update(self.pending.keys() & set(message.ids))
                continue
            assert isinstance(message, Done | Failed)
            if isinstance(message, Done):
                self.pass_on(message, arrays)
            elif answer := self.waiting(message.id):
                answer.set_exception(worker_error(message))

    def pass_on(self, done: Done, arrays: tuple[Array, ...]) -> None:
        """Pass the outputs of a batch to the calls that wait for them."""
        queued_for_others = {model: max(0, n - self.in_flight[model]) for model, n in done.waiting.items()}
        first = 0
        for result in done.results:
            own, first = arrays[first : first + result.arrays], first + result.arrays
            if answer := self.waiting(result.id):
                answer.set_result(pool_output(result, own, self.name, queued_for_others))

    def waiting(self, job: int) -> asyncio.Future[PoolOutput] | None:
        """Return what waits for the answer of a job that has ended; None if it was abandoned meanwhile."""
        self.running.discard(job)
        answer = self.pending.get(job)
        return None if answer is None or answer.done() else answer

    def on_broken(self, task: asyncio.Task[None]) -> None:
        """Close the connection when its receive loop fails, because no further answers would arrive."""
        if not task.cancelled() and (error := task.exception()):
            log.error("connection failed", worker=self.name, exc_info=error)
            self.close()
            self.report_broken(self)

    def close(self) -> None:
        """Close the connection and fail the samples in flight there."""
        self.receiving.cancel()
        self.client.close()
        self.fail_pending()

    def fail_pending(self) -> None:
        """Raise WorkerLost in every call that waits for this worker."""
        for job, answer in self.pending.items():
            if not answer.done():
                answer.set_exception(WorkerLost(self.name, running=job in self.running))


class ProcessPool:
    """The pool of all worker processes. `update` applies each change that the supervisor reports."""

    def __init__(self, frontend: str) -> None:
        """`frontend` is the name of this process. Workers drop its jobs by this name when it exits."""
        self.frontend = frontend
        self.cards: dict[str, Card] = {}
        self.on_change: list[Callable[[], None]] = []
        self.connections: dict[str, WorkerConnection] = {}
        self.expected = 0  # workers, whether they are ready or not
        self.recovering = False
        self.changed = asyncio.Event()
        self.ids, self.identities = itertools.count(), itertools.count()

    @property
    def ready(self) -> int:
        """Return the number of workers that can take samples now."""
        return len(self.connections) - len(self.problems)

    @property
    def problems(self) -> dict[str, str]:
        """Return why workers that are connected do not count as ready."""
        return {role_of(each.name): each.info.problem for each in self.connections.values() if each.info.problem}

    @property
    def available(self) -> bool:
        """Return whether a sample that is admitted now will find a worker soon."""
        return bool(self.connections) or self.recovering

    def update(self, states: WorkerStates) -> None:
        """Connect to new workers, and close the connections to those that are gone."""
        serving = {worker.name: worker for worker in states.workers if worker.state == "ready"}
        for name in self.connections.keys() - serving.keys():
            self.connections.pop(name).close()
        for name, worker in serving.items():
            if name in self.connections:
                self.connections[name].info = worker
            else:
                self.connections[name] = self.connect(worker)
        self.expected = len(states.workers)
        self.recovering = any(worker.state == "recovering" for worker in states.workers)
        self.cards = {card.key: card for card in states.cards}
        self.changed.set()
        self.changed = asyncio.Event()
        for notify in self.on_change:
            notify()

    def connect(self, worker: WorkerInfo) -> WorkerConnection:
        """Return a new connection to a worker."""
        identity = f"{self.frontend}{IDENTITY_SEPARATOR}{next(self.identities)}"
        return WorkerConnection(worker, identity, self.reconnect)

    def reconnect(self, broken: WorkerConnection) -> None:
        """Replace a connection that failed although its worker is alive."""
        if self.connections.get(broken.name) is broken:
            self.connections[broken.name] = self.connect(broken.info)

    async def submit(
        self, model: str, sample: Sample, *, expires: float, upcoming: int = 0, priority: int = USUAL_PRIORITY
    ) -> PoolOutput:
        """Return one sample's output. If a worker exits, retry on another one. Raise ServiceError."""
        crashes, params = 0, encode_params(sample.params)
        traceparent = context.header if (context := CURRENT.get()) is not None else ""
        for losses in range(MAX_LOSSES):
            connection = await self.least_busy(model)
            if losses:
                metrics.retried(model)
            try:
                # alone after a crash, since only the sample that is the cause may fail
                alone, number = crashes > 0, next(self.ids)
                job = Job(number, model, sample.task, params, expires, upcoming, priority, alone, traceparent)
                return await connection.ask(job, sample)
            except WorkerLost as lost:
                log.warning(
                    "worker lost with a sample in flight", worker=connection.name, model=model, running=lost.running
                )
                crashes += lost.running
            if crashes == MAX_CRASHES:
                break
        raise Internal("the worker crashed repeatedly while it processed this image")

    async def least_busy(self, model: str) -> WorkerConnection:
        """Return the worker of a model with the fewest samples in flight, rather one without a problem.

        Equally busy workers take turns: frontends do not know each other's samples, and would all send theirs to the
        first one. Wait if there is none and one recovers. Raise Unavailable.
        """
        while not (serving := [connection for connection in self.connections.values() if connection.serves(model)]):
            if not self.recovering:
                raise no_worker()
            await self.changed.wait()
        return min(serving, key=lambda each: (bool(each.info.problem), len(each.pending), each.latest))

    def close(self) -> None:
        """Close all connections."""
        for connection in self.connections.values():
            connection.close()
        self.connections.clear()


def role_of(name: str) -> str:
    """Return the process slot of a worker, as logs and metrics name it."""
    return name.partition(".")[0]


def worker_error(failed: Failed) -> ServiceError:
    """Return the error that a client gets for a worker's error."""
    kind = WORKER_ERRORS.get(failed.code, Internal)
    return kind(failed.detail, retry_after_s=RETRY_AFTER_S if issubclass(kind, Refused) else None)


def pool_output(
    result: Result, arrays: tuple[Array, ...], worker: str, queued_for_others: Mapping[str, int]
) -> PoolOutput:
    """Return a worker's answer as a pool output."""
    return PoolOutput(
        Output(arrays),
        result.queue_s,
        result.infer_s,
        result.batch_size,
        worker,
        queued_for_others,
        result.began,
        result.batch,
    )
