"""Several batches in flight on one device: when the next one is submitted, whose time it is, and what errors do."""

import asyncio
import math
import threading
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from service.core.batcher import Batcher
from service.core.device import BusyClock, DeviceThreads
from service.core.local import Key, LocalPool, Observer
from service.errors import Internal
from tests.backends import FakeBackend, FakeModel, sample
from tests.clock import now, run
from tests.service.core.test_local import Recorder
from twins.errors import DeviceLost, DeviceOutOfMemory
from twins.runtime.backend import Device
from twins.runtime.batches import BatchRunner
from twins.zoo.models import ModelReference

RUN_S = 1.0  # what a batch takes


@dataclass
class Fifo:
    """A device that takes a second per batch, in order, and records when each was submitted and began."""

    submitted: list[tuple[float, str, int]] = field(default_factory=list)
    began: list[tuple[float, str]] = field(default_factory=list)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self, key: str, items: list[int]) -> list[int]:
        self.submitted.append((now(), key, len(items)))
        async with self.turn:
            self.began.append((now(), key))
            await asyncio.sleep(RUN_S)
        return items


def play(*arrivals: tuple[float, str], max_batch: int = 2) -> Fifo:
    """Run items that arrive at these times through a batcher with two batches in flight."""
    device = Fifo()

    async def scenario() -> None:
        batcher = Batcher(device.run, max_batch=max_batch)
        server = asyncio.create_task(batcher.serve(in_flight=2))

        async def arrive(at: float, key: str) -> None:
            await asyncio.sleep(at)
            await batcher.submit(key, 0)

        await asyncio.gather(*(arrive(at, key) for at, key in arrivals))
        server.cancel()

    run(scenario())
    return device


def test_a_full_batch_is_submitted_while_another_one_runs():
    device = play((0, "a"), (0.2, "a"), (0.3, "a"))
    assert device.submitted == [(0, "a", 1), (pytest.approx(0.3), "a", 2)]


def test_a_batch_that_is_not_full_can_grow_until_the_device_is_idle():
    device = play((0, "a"), (0.2, "a"), (0.9, "a"), max_batch=4)
    assert device.submitted == [(0, "a", 1), (pytest.approx(1.0), "a", 2)]


def test_no_more_batches_are_in_flight_than_the_device_holds():
    device = play(*((0.0, "a") for _ in range(8)))
    assert [at for at, _, _ in device.submitted] == pytest.approx([0, 0, 1, 2])


def test_a_full_batch_does_not_pass_a_batch_whose_turn_it_is():
    device = play((0, "a"), (0.1, "b"), *((0.2, "a") for _ in range(4)))
    assert [key for _, key in device.began] == ["a", "b", "a", "a"]


def test_a_model_waits_for_the_batches_in_flight_and_one_batch_of_each_other():
    device = play(*((0.0, "a") for _ in range(20)), *((0.0, "b") for _ in range(20)), (3.5, "x"))
    began = next(at for at, key in device.began if key == "x")
    waited_for = [key for at, key in device.began if 3.5 < at < began]
    assert len(waited_for) <= 1 + 2  # one in flight that has not begun, and one of each other


def test_two_models_share_the_device_equally():
    device = play(*((0.0, "a") for _ in range(40)), *((0.0, "b") for _ in range(40)))
    first = [key for _, key in device.began[:20]]
    assert abs(first.count("a") - first.count("b")) <= 2


def test_a_batch_is_charged_for_its_own_time_on_the_device():
    charged: list[float] = []

    async def scenario() -> None:
        device = Fifo()
        batcher = Batcher(device.run, max_batch=2)
        end = batcher.turns.end
        batcher.turns.end = lambda group, duration_s: (charged.append(duration_s), end(group, duration_s))
        server = asyncio.create_task(batcher.serve(in_flight=2))
        await asyncio.gather(*(batcher.submit("a", item) for item in range(6)))
        server.cancel()

    run(scenario())
    assert charged == pytest.approx([RUN_S] * 3)


# ---------------------------------------------------------------------- threads


class Overlapping(FakeModel):
    """A model whose batches are in flight until they are released."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.events: list[str] = []
        self.released = threading.Semaphore(0)
        self.late: Exception | None = None  # raised by the next result

    def submit(self, samples):
        self.events.append(f"submit {len(samples)}")
        return InFlight(self, samples)


class InFlight:
    """A batch of such a model."""

    def __init__(self, model: Overlapping, samples) -> None:
        self.model, self.samples = model, samples

    def result(self):
        assert self.model.released.acquire(timeout=10)
        self.model.events.append(f"result {len(self.samples)}")
        if (late := self.model.late) is not None:
            self.model.late = None
            raise late
        return self.model.run(self.samples)


@pytest.fixture
def model():
    return Overlapping("a")


@asynccontextmanager
async def serving(model, **options):
    """Run a pool on a device that holds two batches."""
    backend = FakeBackend(model)
    backend.device = Device("fake", "cpu", 1, in_flight=2)
    pool = LocalPool(lambda _: backend, max_batch=2, **options)
    await pool.open()
    await pool.load(ModelReference("a"))
    model.tried.clear()
    server = asyncio.create_task(pool.serve())
    try:
        yield pool
    finally:
        model.released.release(10)
        server.cancel()
        pool.close()


async def submitted(model, count: int) -> None:
    """Wait until the model has this many events."""
    async with asyncio.timeout(10):
        while len(model.events) < count:
            await asyncio.sleep(0.001)


def values(outputs) -> list[int]:
    return [output.output.arrays[0].item() for output in outputs]


async def test_the_next_batch_is_submitted_before_the_result_of_the_first(model):
    async with serving(model) as pool:
        calls = [asyncio.create_task(pool.submit("a", sample(i))) for i in range(4)]
        await submitted(model, 2)
        model.released.release(2)
        assert values(await asyncio.gather(*calls)) == [0, 1, 2, 3]
    assert model.events == ["submit 2", "submit 2", "result 2", "result 2"]


async def test_a_batch_in_flight_that_does_not_fit_runs_in_parts(model):
    async with serving(model) as pool:
        model.late, model.room = DeviceOutOfMemory("no room"), 1
        model.released.release(10)
        assert values(await asyncio.gather(*(pool.submit("a", sample(i)) for i in range(2)))) == [0, 1]
    assert model.tried == [2, 1, 1]


async def test_samples_that_run_alone_are_on_the_device_one_after_another(model):
    recorder = Recorder()
    async with serving(model, observer=recorder) as pool:
        keys = [Key("a", sample(i).layout, alone=i) for i in range(2)]
        calls = [pool.start(key, sample(i), expires=math.inf, tag=i) for i, key in enumerate(keys)]
        await submitted(model, 1)
        await asyncio.sleep(0.05)
        started_together = list(recorder.started)
        model.released.release(2)
        await asyncio.gather(*calls)
    assert (started_together, recorder.started) == ([[0]], [[0], [1]])


async def test_a_device_that_is_lost_with_batches_in_flight_is_reported(model):
    lost = []

    class Recorder(Observer):
        def device_lost(self, error):
            lost.append(error)

    async with serving(model, observer=Recorder()) as pool:
        model.late = DeviceLost("gone")
        model.released.release(1)
        with pytest.raises(Internal):
            await pool.submit("a", sample(0))
        assert (len(lost), pool.available) == (1, False)


async def test_a_batch_in_flight_that_never_ends_counts_as_running(model):
    async with serving(model) as pool:
        call = asyncio.create_task(pool.submit("a", sample(0)))
        await submitted(model, 1)
        first = pool.busy_s()
        await asyncio.sleep(0.01)
        assert pool.busy_s() > first > 0
        model.released.release(1)
        await call
        assert pool.busy_s() == 0


async def test_a_batch_that_cannot_be_submitted_leaves_the_device_idle(model):
    def fail(_):
        raise RuntimeError("broken")

    threads = DeviceThreads()
    model.submit = fail
    with pytest.raises(RuntimeError):
        await threads.run(BatchRunner(model, "cpu"), [sample(0)], overlap=True)
    assert threads.clock.busy_s() == 0
    threads.close()


def test_the_time_of_a_batch_begins_when_the_batch_before_it_ends():
    clock = BusyClock()
    clock.start()
    clock.start()
    first_began, first_took_s = clock.end()
    second_began, _ = clock.end()
    assert second_began == pytest.approx(first_began + first_took_s)
