"""A worker over real sockets, with a backend without a library: jobs of frontends that live and that have died."""

import asyncio
import os
import threading
from contextlib import suppress
from dataclasses import replace

import pytest

from service.environment import COMPILED_FOLDER
from service.errors import Internal, ServiceError
from service.ipc.messages import (
    Done,
    FrontendGone,
    Job,
    LoadModel,
    ModelStatus,
    Ready,
    UnloadModel,
    WorkerInfo,
    WorkerStates,
    address,
)
from service.ipc.pool import ProcessPool
from service.ipc.transport import ClientSocket, ServerSocket
from service.processes import child
from service.processes.child import CONTROL, ChildConfig
from service.processes.worker import Worker
from service.settings import Settings
from service.tracing.context import parse, within
from service.tracing.tracer import Tracer
from tests.backends import FakeBackend, FakeModel, sample
from tests.service.core.test_engine_traces import Kept
from tests.service.tracing.senders import context
from twins.running import AS_THE_OTHERS
from twins.tasks import encode_params
from twins.zoo.models import ModelReference

TIMEOUT_S = 30
NAME = "worker-0.0"
SERVED = (ModelStatus("a", "", "ready"),)


class GatedModel(FakeModel):
    """A model whose batches wait for a gate, and which remembers what it ran."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.gate = threading.Event()
        self.values: list[int] = []

    def run(self, samples):
        assert self.gate.wait(TIMEOUT_S)
        self.values += [int(each.pixels.flat[0]) for each in samples]
        return super().run(samples)


@pytest.fixture
def model():
    return GatedModel("a")


@pytest.fixture
def further():
    """Two models that the worker can load besides."""
    return [GatedModel("b"), GatedModel("c")]


@pytest.fixture
async def supervisor(tmp_path):
    """The supervisor's end of the control plane."""
    made = ServerSocket(address(tmp_path, CONTROL))
    yield made
    made.close()


@pytest.fixture
async def worker(tmp_path, supervisor, model, further):
    """A worker that runs in this process, without its heartbeats."""
    control = ClientSocket(address(tmp_path, CONTROL), name=NAME)
    made = Worker(ChildConfig(NAME, str(tmp_path), os.getpid(), 0, {}, device="cpu"), Settings(), control)
    made.pool.open_backend = lambda _: FakeBackend(model, *further)
    await made.pool.open()
    model.gate.set()
    await made.pool.load(ModelReference("a"))
    model.gate.clear()
    model.values.clear()
    made.models["a"] = SERVED[0]
    control.send(Ready())  # so that the supervisor's socket knows the way back
    await supervisor.receive()
    tasks = [asyncio.create_task(job) for job in (made.pool.serve(), made.jobs.receive(), made.follow())]
    yield made
    for each in (model, *further):
        each.gate.set()
    for task in tasks:
        task.cancel()
    made.jobs.socket.close()
    control.close()


@pytest.fixture
async def frontends(tmp_path, worker):
    """Two frontends that are connected to the worker."""
    pools = [ProcessPool(name) for name in ("frontend-0.0", "frontend-1.0")]
    for pool in pools:
        pool.update(WorkerStates((WorkerInfo(NAME, address(tmp_path, NAME), "ready", SERVED),), ()))
    yield pools
    for pool in pools:
        pool.close()


async def until(condition) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():
            await asyncio.sleep(0.005)


def submit(pool, value) -> asyncio.Task:
    async def call():
        with suppress(ServiceError):
            return (await pool.submit("a", sample(value), expires=float("inf"))).output.arrays[0].item()

    return asyncio.create_task(call())


async def test_jobs_of_a_frontend_that_died_never_reach_the_device(worker, supervisor, frontends, model):
    dead, alive = frontends
    first = submit(alive, 1)
    await until(lambda: worker.pool.busy_s() > 0)
    dropped = [submit(dead, value) for value in (2, 3)]
    second = submit(alive, 4)
    await until(lambda: worker.pool.lanes[0].batcher.depth == 3)
    supervisor.send(NAME.encode(), FrontendGone("frontend-0.0"))
    await until(lambda: worker.jobs.gone)
    model.gate.set()
    assert (await first, await second, model.values) == (1, 4, [1, 4])
    for job in dropped:
        job.cancel()


async def test_jobs_that_arrive_after_their_frontend_died_are_dropped(worker, supervisor, frontends, model):
    dead, alive = frontends
    supervisor.send(NAME.encode(), FrontendGone("frontend-0.0"))
    await until(lambda: worker.jobs.gone)
    model.gate.set()
    late = submit(dead, 2)
    assert (await submit(alive, 1), model.values) == (1, [1])
    late.cancel()


async def test_the_next_frontend_in_the_same_process_slot_is_served(tmp_path, worker, supervisor, model):
    supervisor.send(NAME.encode(), FrontendGone("frontend-0.0"))
    await until(lambda: worker.jobs.gone)
    model.gate.set()
    successor = ProcessPool("frontend-0.1")
    successor.update(WorkerStates((WorkerInfo(NAME, address(tmp_path, NAME), "ready", SERVED),), ()))
    assert await submit(successor, 5) == 5
    successor.close()


async def test_a_worker_says_that_a_sample_failed_and_goes_on(worker, frontends, model):
    model.gate.set()
    model.fault = RuntimeError("broken")
    with pytest.raises(ServiceError, match="the model failed on this image"):
        await frontends[0].submit("a", sample(1), expires=float("inf"))
    model.fault = None
    assert await submit(frontends[0], 2) == 2


async def order(supervisor, *messages) -> None:
    """Send the worker messages of the supervisor."""
    for message in messages:
        supervisor.send(NAME.encode(), message)


def states(worker) -> dict[str, str]:
    """Return the states that the worker reports."""
    return {status.key: status.state for status in worker.models.values()}


@pytest.fixture
def loaded(worker, monkeypatch):
    """Return the names of the models that the worker loads, in that order."""
    names, load = [], worker.pool.backend.load

    def recording(reference):
        names.append(reference.name)
        return load(reference)

    monkeypatch.setattr(worker.pool.backend, "load", recording)
    return names


@pytest.fixture
def failures(monkeypatch):
    """Return the errors that would have ended the process."""
    errors = []
    monkeypatch.setattr(child, "exit_process", lambda code, error=None: errors.append(error))
    return errors


async def test_a_model_that_waits_for_another_to_load_is_reported_as_loading(worker, supervisor, further, loaded):
    await order(supervisor, *(LoadModel(ModelReference(name)) for name in "bc"))
    await until(lambda: states(worker) == {"a": "ready", "b": "loading", "c": "loading"})
    assert loaded == ["b"]


async def test_a_model_that_is_ordered_twice_is_loaded_once(worker, supervisor, further, loaded):
    await order(supervisor, *(LoadModel(ModelReference(name)) for name in "abcbc"))
    for each in further:
        each.gate.set()
    await until(lambda: states(worker) == dict.fromkeys("abc", "ready") and not worker.changes)
    assert loaded == ["b", "c"]


async def test_a_model_is_unloaded_once_while_another_loads(worker, supervisor, further, loaded, failures):
    await order(supervisor, LoadModel(ModelReference("b")), UnloadModel("a"), UnloadModel("a"), UnloadModel("none"))
    await until(lambda: states(worker) == {"a": "unloading", "b": "loading"})
    further[0].gate.set()
    await until(lambda: states(worker) == {"b": "ready"} and not worker.changes)
    assert failures == []


async def test_a_job_that_cannot_be_read_is_answered_and_the_worker_goes_on(worker, frontends, model, monkeypatch):
    def fail(*_):
        raise ValueError("unknown parameters")

    model.gate.set()
    with monkeypatch.context() as patched:
        patched.setattr("service.processes.jobs.decode_params", fail)
        failing = asyncio.create_task(frontends[0].submit("a", sample(1), expires=float("inf")))
        with pytest.raises(Internal):
            await asyncio.wait_for(failing, TIMEOUT_S)
    assert await submit(frontends[0], 2) == 2


async def test_the_outputs_of_a_batch_share_one_message(tmp_path, worker, model):
    frontend = ClientSocket(address(tmp_path, NAME), name="frontend-0.0/0")
    each = sample(1)
    for number in range(3):
        frontend.send(Job(number, "a", each.task, encode_params(each.params), float("inf"), 0, 2), [each.pixels])
    await until(lambda: len(worker.jobs.open) == 3)
    model.gate.set()
    answered = []
    async with asyncio.timeout(TIMEOUT_S):
        while sum(map(len, answered)) < 3:
            message, _ = await frontend.receive()
            if isinstance(message, Done):
                answered.append([result.id for result in message.results])
    assert answered in ([[0], [1, 2]], [[0, 1, 2]])  # the first one may have started alone
    frontend.close()


# ---------------------------------------------------------------------- what is kept for the next start


@pytest.mark.parametrize(("chosen", "expected"), [(None, "twins/compiled"), ("own", "own")])
async def test_compiled_programs_are_kept_beside_the_weights_or_where_the_user_says(
    worker, monkeypatch, tmp_path, chosen, expected
):
    monkeypatch.setenv(COMPILED_FOLDER, str(tmp_path / (chosen or "")))
    if chosen is None:
        monkeypatch.delenv(COMPILED_FOLDER)
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path))
    monkeypatch.setattr("service.processes.device.open_backend", lambda plan: FakeBackend())
    worker.settings = Settings(backend="compile")
    Worker.open_backend(worker, AS_THE_OTHERS)
    assert os.environ[COMPILED_FOLDER] == str(tmp_path / expected)


async def test_models_load_at_once_if_the_device_allows_it(worker, further):
    slow, fast = further
    worker.config = replace(worker.config, models=(ModelReference("b"), ModelReference("c")))
    worker.pool.backend.device = replace(FakeBackend.device, any_thread=True)
    await worker.pool.unload("a")
    loading = asyncio.create_task(worker.load_all())
    fast.gate.set()
    await until(lambda: list(worker.pool.models) == ["c"])
    slow.gate.set()
    await loading
    assert set(worker.pool.cards) == {"b", "c"}


async def submit_in(trace, pool, value):
    """Submit a sample in a trace, and return its output or its error."""
    with within(trace):
        try:
            return await pool.submit("a", sample(value), expires=float("inf"))
        except ServiceError as error:
            return error


async def test_the_trace_of_a_job_travels_to_the_worker_and_its_batch_back(worker, frontends, model):
    kept = Kept()
    worker.jobs.traces.tracer = Tracer(kept)
    first = asyncio.create_task(submit_in(None, frontends[0], 0))
    await until(lambda: worker.pool.busy_s() > 0)
    members = [context(), context()]
    jobs = [asyncio.create_task(submit_in(*each, 1)) for each in zip(members, frontends, strict=True)]
    await until(lambda: worker.pool.lanes[0].batcher.depth == 2)
    model.gate.set()
    outputs = await asyncio.gather(*jobs)
    batch, forward = kept.spans
    assert {link.span_id for link in batch.links} == {member.span_id for member in members}
    assert {parse(output.batch).span_id for output in outputs} == {batch.context.span_id}
    assert {(output.began, output.infer_s) for output in outputs} == {(forward.began, forward.took_s)}
    assert (await first).batch == ""
    assert (worker.jobs.traces.waiting, worker.jobs.traces.batches) == ({}, {})
