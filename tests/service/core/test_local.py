"""The pool in this process, with a fake backend: results, errors, and what reaches the device."""

import asyncio
import math
import threading
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from service.core.local import Key, LocalPool, Observer
from service.errors import DeadlineExceeded, Internal, Unavailable
from tests.backends import FakeBackend, FakeModel, sample
from twins.errors import DeviceLost, DeviceMissing, NonFiniteOutput
from twins.zoo.models import ModelReference


class Recorder(Observer):
    """Record calls."""

    def __init__(self) -> None:
        self.started, self.ended, self.lost = [], [], []

    def batch_starts(self, tags):
        self.started.append(list(tags))

    def batch_ended(self, model, tags, ran):
        self.ended.append((model, len(tags)))

    def device_lost(self, error):
        self.lost.append(error)


@asynccontextmanager
async def serving(*models, **options):
    """Run a pool with these models loaded."""
    pool = LocalPool(lambda _: FakeBackend(*models), **options)
    await pool.open()
    for model in models:
        await pool.load(ModelReference(model.card.name))
        model.tried.clear()
    server = asyncio.create_task(pool.serve())
    try:
        yield pool
    finally:
        server.cancel()
        pool.close()


@pytest.fixture
def model():
    return FakeModel("a")


async def value(pool, given, name="a", **options):
    return (await pool.submit(name, sample(given), **options)).output.arrays[0].item()


async def test_samples_that_are_submitted_together_share_a_batch(model):
    async with serving(model) as pool:
        outputs = await asyncio.gather(*(pool.submit("a", sample(i)) for i in range(4)))
    assert [output.output.arrays[0].item() for output in outputs] == [0, 1, 2, 3]
    assert {output.batch_size for output in outputs} == {4}


async def test_a_batch_is_no_larger_than_the_task_prefers(model):
    async with serving(model) as pool:
        await asyncio.gather(*(value(pool, i) for i in range(10)))
    assert model.tried == [8, 2]


async def test_a_configured_batch_size_comes_before_the_tasks(model):
    async with serving(model, max_batch=2) as pool:
        await asyncio.gather(*(value(pool, i) for i in range(4)))
    assert model.tried == [2, 2]


async def test_a_batch_that_did_not_fit_is_not_tried_at_that_size_again(model):
    async with serving(model) as pool:
        model.room = 2
        await asyncio.gather(*(value(pool, i) for i in range(5)))
        model.tried.clear()
        await asyncio.gather(*(value(pool, i) for i in range(5)))
    assert model.tried == [2, 2, 1]


async def test_a_sample_that_is_too_large_leaves_its_neighbours_their_answers(model):
    model.too_large = 1
    async with serving(model) as pool:
        answers = await asyncio.gather(*(value(pool, i) for i in range(3)), return_exceptions=True)
    assert isinstance(answers.pop(1), Unavailable)
    assert answers == [0, 2]


async def test_an_output_that_is_not_finite_is_an_error_of_its_sample_alone(model):
    run = model.run
    model.run = lambda samples: [NonFiniteOutput("nan") if o.arrays[0] == 1 else o for o in run(samples)]
    async with serving(model) as pool:
        answers = await asyncio.gather(*(value(pool, i) for i in range(3)), return_exceptions=True)
    assert isinstance(answers.pop(1), Internal)
    assert answers == [0, 2]


async def test_an_unexpected_error_is_internal_and_not_shown(model):
    async with serving(model) as pool:
        model.fault = RuntimeError("/etc/secret")
        with pytest.raises(Internal, match="the model failed") as caught:
            await value(pool, 0)
    assert "secret" not in caught.value.detail


async def test_an_expired_sample_never_reaches_the_device(model):
    async with serving(model) as pool:
        with pytest.raises(DeadlineExceeded):
            await value(pool, 0, expires=0.0)
    assert model.tried == []


async def test_the_observer_is_called_with_a_batch_and_its_tags(model):
    recorder = Recorder()
    async with serving(model, observer=recorder) as pool:
        await asyncio.gather(
            *(pool.start(Key("a", sample(i).layout), sample(i), expires=math.inf, tag=i) for i in range(3))
        )
    assert (recorder.started, recorder.ended) == ([[0, 1, 2]], [("a", 3)])


async def test_after_the_device_is_lost_nothing_is_available(model):
    recorder = Recorder()
    async with serving(model, observer=recorder) as pool:
        model.fault = DeviceLost("gone")
        with pytest.raises(Internal):
            await value(pool, 0)
        assert (pool.ready, pool.available, recorder.lost) == (0, False, [model.fault])
        with pytest.raises(Unavailable):
            await value(pool, 0)


async def test_a_missing_device_is_reported_when_the_pool_opens():
    def missing(_):
        raise DeviceMissing("no such device")

    with pytest.raises(DeviceMissing):
        await LocalPool(missing).open()


# ---------------------------------------------------------------------- models that come and go


async def test_a_model_is_warmed_up_before_it_is_served(model):
    pool = LocalPool(lambda _: FakeBackend(model))
    await pool.open()
    assert (pool.cards, pool.ready) == ({}, 0)
    await pool.load(ModelReference("a"))
    assert (model.tried, pool.cards, pool.ready) == ([1, 2, 4, 8], {"a": model.card}, 1)
    pool.close()


async def test_a_model_that_cannot_be_warmed_up_is_unloaded_and_not_served(model):
    model.fault = RuntimeError("broken")
    pool = LocalPool(lambda _: FakeBackend(model))
    await pool.open()
    with pytest.raises(RuntimeError):
        await pool.load(ModelReference("a"))
    assert (model.unloaded, pool.cards) == (True, {})
    pool.close()


async def test_a_second_model_is_loaded_while_the_first_one_serves(model):
    second = FakeModel("b")
    async with serving(model) as pool:
        pool.backend.models["b"] = second
        _, first = await asyncio.gather(pool.load(ModelReference("b")), value(pool, 7))
        assert (first, await value(pool, 9, "b")) == (7, 9)


class SlowToWarmUp(FakeModel):
    """A model whose warm-up lasts until `go_on` is set."""

    def __init__(self, name):
        super().__init__(name)
        self.warming, self.go_on = threading.Event(), threading.Event()

    def warm_up(self, _):
        self.warming.set()
        assert self.go_on.wait(10)


async def test_the_wait_for_a_model_that_warms_up_counts_as_queueing_and_not_as_inference(model):
    second = SlowToWarmUp("b")
    async with serving(model) as pool:
        pool.backend.models["b"] = second
        loading = asyncio.create_task(pool.load(ModelReference("b")))
        await asyncio.to_thread(second.warming.wait, 10)
        waiting = asyncio.create_task(pool.submit("a", sample(1)))
        await asyncio.sleep(0.3)
        busy_s = pool.busy_s()
        second.go_on.set()
        output = await waiting
        await loading
    assert (busy_s, output.infer_s < 0.15 < output.queue_s) == (0.0, True)


async def test_a_model_that_warms_up_aside_does_not_delay_the_others(model):
    second = SlowToWarmUp("b")
    async with serving(model) as pool:
        pool.backend.models["b"] = second
        pool.backend.device = replace(pool.backend.device, any_thread=True)
        loading = asyncio.create_task(pool.load(ModelReference("b")))
        await asyncio.to_thread(second.warming.wait, 10)
        assert await asyncio.wait_for(value(pool, 7), 5) == 7
        second.go_on.set()
        await loading


async def test_an_unloaded_model_is_rejected_and_the_others_are_still_served(model):
    async with serving(model, FakeModel("b")) as pool:
        await pool.unload("a")
        with pytest.raises(Unavailable):
            await value(pool, 1)
        assert (model.unloaded, await value(pool, 2, "b")) == (True, 2)


async def test_a_model_that_is_loaded_in_place_of_another_frees_the_memory_of_that_one(model):
    async with serving(model) as pool:
        pool.backend.models["a"] = FakeModel("a")
        await pool.load(ModelReference("a"))
        assert model.unloaded
        assert await value(pool, 7) == 7
