"""The pool of workers, with fake workers that use the real transport over real sockets."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager

import numpy as np
import pytest
from msgspec.structs import replace

from service import errors, metric_series
from service.errors import Internal, ServiceError, Unavailable
from service.ipc.messages import (
    Abandon,
    Done,
    Failed,
    Job,
    ModelStatus,
    Result,
    Running,
    WorkerInfo,
    WorkerStates,
    address,
)
from service.ipc.pool import MAX_CRASHES, WORKER_ERRORS, ProcessPool
from service.ipc.transport import ServerSocket
from tests.service.counting import counted
from twins.tasks import decode_params
from twins.tasks.sample import Sample
from twins.tasks.segment import SegmentParams

SAMPLE = Sample(np.arange(12, dtype=np.uint8).reshape(2, 2, 3), SegmentParams((4, 5), confidence=True))
NEVER = float("inf")
TIMEOUT_S = 30


class FakeWorker:
    """A worker that receives jobs, and sends the answers that a test chooses."""

    def __init__(self, folder, name: str) -> None:
        self.name, self.at = name, address(folder, name)
        self.listener = ServerSocket(self.at)

    async def job(self) -> tuple[bytes, Job, np.ndarray]:
        """Return the next job: its sender, the job and its pixels."""
        async with asyncio.timeout(TIMEOUT_S):
            peer, message, arrays = await self.listener.receive()
        assert isinstance(message, Job)
        return peer, message, arrays[0]

    async def abandoned(self) -> int:
        """Return the id of the next job that is abandoned."""
        async with asyncio.timeout(TIMEOUT_S):
            _, message, _ = await self.listener.receive()
        assert isinstance(message, Abandon)
        return message.id

    async def answer(self, peer: bytes, job: Job, *, value: float = 0.5, waiting: dict[str, int] | None = None) -> None:
        """Send a result with one score, and how many samples wait in the worker."""
        done = Done((Result(job.id, 0.1, 0.2, 3, 2),), waiting or {})
        self.listener.send(peer, done, [np.int64([7]), np.float32([value])])

    async def serve(self, *, value: float) -> None:
        """Answers every job."""
        while True:
            peer, job, _ = await self.job()
            await self.answer(peer, job, value=value)

    @property
    def info(self) -> WorkerInfo:
        """A ready worker."""
        return WorkerInfo(self.name, self.at, "ready", (ModelStatus("nano", "1", "ready"),))


def states(*workers: FakeWorker | WorkerInfo) -> WorkerStates:
    """The supervisor's news that these are all workers."""
    return WorkerStates(tuple(w.info if isinstance(w, FakeWorker) else w for w in workers), ())


RECOVERING = WorkerInfo("worker-9.0", "ipc:///nowhere", "recovering")
LOADING = WorkerInfo("worker-9.0", "ipc:///nowhere", "loading")
BROKEN = WorkerInfo("worker-9.0", "ipc:///nowhere", "broken")


@pytest.fixture
async def workers(tmp_path):
    """Return three workers that do not answer yet."""
    async with AsyncExitStack() as stack:
        made = [FakeWorker(tmp_path, name) for name in "abc"]
        for worker in made:
            stack.callback(worker.listener.close)
        yield made


@pytest.fixture
async def pool():
    made = ProcessPool("frontend-0.0")
    yield made
    made.close()


def submit(pool: ProcessPool) -> asyncio.Task:
    """A sample on its way."""
    return asyncio.create_task(pool.submit("nano", SAMPLE, expires=NEVER, upcoming=2))


@asynccontextmanager
async def serving(worker: FakeWorker, *, value: float = 0.5):
    """The time in which a worker answers."""
    task = asyncio.create_task(worker.serve(value=value))
    try:
        yield
    finally:
        task.cancel()


async def test_a_sample_reaches_the_worker_as_it_was(pool, workers):
    pool.update(states(workers[0]))
    call = submit(pool)
    _, job, pixels = await workers[0].job()
    call.cancel()
    assert (job.model, job.upcoming, job.expires, pixels.tolist()) == ("nano", 2, NEVER, SAMPLE.pixels.tolist())
    assert decode_params(job.task, job.params) == SAMPLE.params


async def test_an_answer_comes_back_with_its_timing(pool, workers):
    pool.update(states(workers[0]))
    async with serving(workers[0], value=0.25):
        answer = await submit(pool)
    scores = answer.output.arrays[1].tolist()
    assert (scores, answer.queue_s, answer.infer_s, answer.batch_size) == ([0.25], 0.1, 0.2, 3)


async def test_answers_in_another_order_find_their_callers(pool, workers):
    pool.update(states(workers[0]))
    calls = [submit(pool) for _ in range(3)]
    jobs = [await workers[0].job() for _ in calls]
    for number, (peer, job, _) in reversed(list(enumerate(jobs))):
        await workers[0].answer(peer, job, value=number)
    assert [call.output.arrays[1].item() for call in await asyncio.gather(*calls)] == [0, 1, 2]


async def test_work_is_spread_evenly(pool, workers):
    pool.update(states(*workers))
    calls = [submit(pool) for _ in range(9)]
    await asyncio.sleep(0)
    spread = Counter(len(connection.pending) for connection in pool.connections.values())
    for call in calls:
        call.cancel()
    assert spread == {3: 3}


async def test_the_next_sample_goes_where_least_is_outstanding(pool, workers):
    pool.update(states(*workers[:2]))
    first, second = submit(pool), submit(pool)
    peer, job, _ = await workers[1].job()
    await workers[1].answer(peer, job)
    await asyncio.wait({first, second}, return_when=asyncio.FIRST_COMPLETED)
    third = submit(pool)
    await workers[1].job()
    first.cancel()
    third.cancel()


async def test_equally_busy_workers_take_turns(pool, workers):
    pool.update(states(*workers))
    async with AsyncExitStack() as stack:
        for value, worker in enumerate(workers):
            await stack.enter_async_context(serving(worker, value=value))
        served = [float((await submit(pool)).output.arrays[1][0]) for _ in range(6)]
    assert served == [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]


async def test_a_sample_lost_with_its_worker_goes_to_another(pool, workers):
    pool.update(states(workers[0]))
    call = submit(pool)
    await workers[0].job()
    pool.update(states(workers[1]))
    async with serving(workers[1], value=0.75):
        assert (await call).output.arrays[1].item() == 0.75


async def test_a_sample_lost_with_its_worker_waits_for_one_that_is_recovering(pool, workers):
    pool.update(states(workers[0]))
    call = submit(pool)
    await workers[0].job()
    pool.update(states(RECOVERING))
    await asyncio.sleep(0)
    pool.update(states(workers[1]))
    async with serving(workers[1], value=0.75):
        assert (await call).output.arrays[1].item() == 0.75


async def lose(pool, workers) -> asyncio.Task:
    """A sample that was in flight in as many crashes as it is allowed."""
    pool.update(states(workers[0]))
    call = submit(pool)
    for number in range(MAX_CRASHES):
        await run_next(pool, workers[number])
        pool.update(states(workers[number + 1]))
    return call


async def run_next(pool, worker) -> None:
    """Report that the next job is on the device, and wait until the pool has received that."""
    peer, job, _ = await worker.job()
    worker.listener.send(peer, Running((job.id,)))
    async with asyncio.timeout(TIMEOUT_S):
        while not pool.connections[worker.name].running:
            await asyncio.sleep(0.001)


async def test_a_sample_that_was_in_two_crashes_is_an_error(pool, workers):
    with pytest.raises(Internal, match="crashed repeatedly"):
        await (await lose(pool, workers))


async def test_a_sample_that_was_in_two_crashes_is_never_sent_again(pool, workers):
    await asyncio.wait({await lose(pool, workers)})
    marker = submit(pool)
    _, job, _ = await workers[2].job()
    marker.cancel()
    assert job.id == MAX_CRASHES


async def test_a_sample_that_was_in_two_crashes_counts_as_sent_again_once(pool, workers):
    before = counted(metric_series.RETRIES, model="nano")
    await asyncio.wait({await lose(pool, workers)})
    assert counted(metric_series.RETRIES, model="nano") - before == MAX_CRASHES - 1


async def test_a_sample_that_only_waited_in_two_crashes_is_sent_again(pool, workers):
    pool.update(states(workers[0]))
    call = submit(pool)
    for number in range(MAX_CRASHES):
        await workers[number].job()
        pool.update(states(workers[number + 1]))
    async with serving(workers[MAX_CRASHES]):
        assert (await call).batch_size == 3


async def test_a_sample_waits_while_a_worker_recovers(pool, workers):
    pool.update(states(RECOVERING))
    call = submit(pool)
    await asyncio.sleep(0)
    pool.update(states(workers[0]))
    async with serving(workers[0]):
        assert (await call).batch_size == 3


@pytest.mark.parametrize("state", [LOADING, BROKEN], ids=["loading", "broken"])
async def test_a_call_fails_at_once_if_no_worker_is_recovering(pool, state):
    pool.update(states(state))
    with pytest.raises(Unavailable):
        await pool.submit("nano", SAMPLE, expires=NEVER)


async def test_a_call_fails_at_once_before_the_first_worker_states(pool):
    with pytest.raises(Unavailable):
        await pool.submit("nano", SAMPLE, expires=NEVER)


async def test_a_waiting_call_fails_when_no_worker_is_recovering_any_more(pool):
    pool.update(states(RECOVERING))
    call = submit(pool)
    await asyncio.sleep(0)
    pool.update(states(BROKEN))
    with pytest.raises(Unavailable):
        await call


async def test_the_error_for_a_missing_worker_has_retry_after(pool):
    with pytest.raises(Unavailable) as caught:
        await pool.submit("nano", SAMPLE, expires=NEVER)
    assert caught.value.retry_after_s


@pytest.mark.parametrize(
    ("news", "available"), [((), False), ((LOADING,), False), ((BROKEN,), False), ((RECOVERING,), True)]
)
async def test_a_pool_without_a_ready_worker_is_available_only_if_one_recovers(pool, news, available):
    pool.update(states(*news))
    assert pool.available is available


async def test_ready_counts_the_workers_that_are_ready(pool, workers):
    pool.update(states(workers[0], workers[1], RECOVERING))
    assert pool.ready == 2


async def test_an_abandoned_sample_is_taken_back(pool, workers):
    pool.update(states(workers[0]))
    call = submit(pool)
    _, job, _ = await workers[0].job()
    call.cancel()
    assert await workers[0].abandoned() == job.id


async def test_an_abandoned_sample_is_not_outstanding(pool, workers):
    pool.update(states(workers[0]))
    call = submit(pool)
    await workers[0].job()
    call.cancel()
    await asyncio.wait({call})
    assert not next(iter(pool.connections.values())).pending


async def test_an_answer_without_a_waiting_call_is_ignored(pool, workers):
    pool.update(states(workers[0]))
    abandoned = submit(pool)
    peer, job, _ = await workers[0].job()
    abandoned.cancel()
    await workers[0].abandoned()
    await workers[0].answer(peer, job)
    async with serving(workers[0], value=0.75):
        assert (await submit(pool)).output.arrays[1].item() == 0.75


@pytest.mark.parametrize("kind", WORKER_ERRORS.values(), ids=lambda kind: kind.__name__)
async def test_a_failure_becomes_the_error_it_stands_for(pool, workers, kind):
    assert type(await failure(pool, workers[0], kind.code)) is kind


@pytest.mark.parametrize("code", ["no such code", errors.BadRequest.code])
async def test_a_failure_that_no_worker_may_report_is_ours(pool, workers, code):
    assert type(await failure(pool, workers[0], code)) is Internal


async def test_a_failure_keeps_its_words(pool, workers):
    assert (await failure(pool, workers[0], "internal")).detail == "in words"


async def failure(pool, worker, code: str) -> ServiceError:
    """Return the error that a caller gets when a worker reports that code."""
    pool.update(states(worker))
    call = submit(pool)
    peer, job, _ = await worker.job()
    worker.listener.send(peer, Failed(job.id, code, "in words"))
    with pytest.raises(ServiceError) as caught:
        await call
    return caught.value


async def test_a_new_process_in_the_same_slot_gets_a_new_connection(pool, workers):
    pool.update(states(workers[0]))
    pool.update(states(workers[1]))
    async with serving(workers[1], value=0.75):
        assert (await submit(pool)).output.arrays[1].item() == 0.75


def holding(worker: FakeWorker, **models: str) -> WorkerInfo:
    """Return a ready worker with these models in these states."""
    statuses = tuple(ModelStatus(name, "1", state) for name, state in models.items())
    return WorkerInfo(worker.name, worker.at, "ready", statuses)


@pytest.mark.parametrize("state", ["ready", "unloading"])
async def test_a_sample_goes_to_a_worker_that_serves_its_model(pool, workers, state):
    pool.update(states(holding(workers[0], other="ready"), holding(workers[1], other="ready", nano=state)))
    call = submit(pool)
    _, job, _ = await workers[1].job()
    call.cancel()
    assert job.model == "nano"


@pytest.mark.parametrize("state", ["loading", "failed"])
async def test_a_model_that_is_not_ready_anywhere_is_unavailable(pool, workers, state):
    pool.update(states(holding(workers[0], nano=state, other="ready")))
    with pytest.raises(Unavailable):
        await pool.submit("nano", SAMPLE, expires=NEVER)


async def test_a_worker_that_gets_a_model_ready_takes_its_samples_over_the_same_connection(pool, workers):
    pool.update(states(holding(workers[0], other="ready")))
    connection = pool.connections[workers[0].name]
    pool.update(states(holding(workers[0], other="ready", nano="ready")))
    async with serving(workers[0], value=0.75):
        assert (await submit(pool)).output.arrays[1].item() == 0.75
    assert pool.connections[workers[0].name] is connection


async def test_a_connection_that_broke_is_replaced_and_its_samples_are_sent_again(pool, workers):
    pool.update(states(workers[0]))
    call = submit(pool)
    peer, _, _ = await workers[0].job()
    workers[0].listener.socket.send_multipart([peer, b"not a message", b"at all"])
    async with serving(workers[0], value=0.75):
        assert (await call).output.arrays[1].item() == 0.75


async def test_all_workers_are_expected_whatever_their_state(pool, workers):
    pool.update(states(workers[0], LOADING, BROKEN))
    assert (pool.ready, pool.expected) == (1, 3)


async def test_unchanged_worker_states_keep_the_connections(pool, workers):
    pool.update(states(workers[0]))
    call = submit(pool)
    peer, job, _ = await workers[0].job()
    pool.update(states(workers[0]))
    await workers[0].answer(peer, job)
    assert (await call).batch_size == 3


async def test_an_answer_says_what_waits_in_the_worker_for_other_frontends(pool, workers):
    pool.update(states(workers[0]))
    first, second = submit(pool), submit(pool)
    peer, job, _ = await workers[0].job()
    await workers[0].answer(peer, job, waiting={"nano": 5, "masks": 3})
    answer = await first
    second.cancel()
    assert (answer.worker, answer.queued_for_others) == ("a", {"nano": 3, "masks": 3})


async def until(condition) -> None:
    """Poll until the condition is true."""
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():
            await asyncio.sleep(0.005)


def with_problem(worker: FakeWorker) -> WorkerInfo:
    """Return a worker that does not compute."""
    return replace(worker.info, problem="no batch has succeeded for 30 s")


async def test_a_worker_with_a_problem_gets_samples_only_if_there_is_no_other(workers, pool):
    failing, healthy, _ = workers
    pool.update(states(with_problem(failing), healthy))
    async with serving(healthy, value=0.25), serving(failing, value=0.75):
        outputs = [await submit(pool) for _ in range(3)]
        assert {output.output.arrays[1].item() for output in outputs} == {0.25}
        pool.update(states(with_problem(failing)))
        assert (await submit(pool)).output.arrays[1].item() == 0.75


async def test_a_worker_with_a_problem_does_not_count_as_ready_until_it_is_solved(workers, pool):
    failing = workers[0]
    pool.update(states(with_problem(failing)))
    assert (pool.ready, pool.available) == (0, True)
    assert pool.problems == {failing.name: "no batch has succeeded for 30 s"}
    pool.update(states(failing))
    assert (pool.ready, pool.problems) == (1, {})


async def test_a_sample_that_was_in_a_crash_is_sent_again_to_run_alone(workers, pool):
    first, second, _ = workers
    pool.update(states(first))
    answer = submit(pool)
    peer, job, _ = await first.job()
    first.listener.send(peer, Running((job.id,)))
    await until(lambda: pool.connections[first.name].running)
    pool.update(states(second))
    peer, again, _ = await second.job()
    assert (job.alone, again.alone) == (False, True)
    await second.answer(peer, again)
    await answer
