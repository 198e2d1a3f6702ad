"""The canary on a fake clock, in front of a device that runs batches in no time, fails or hangs."""

import asyncio
import math
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from service.core.canary import Canary
from service.core.device import BatchResult
from service.core.local import LocalPool
from tests import clock
from tests.backends import FakeBackend, FakeModel, sample
from tests.service.core.test_local import Recorder
from twins.errors import DeviceLost
from twins.runtime.batches import BatchRunner

INTERVAL_S = 10.0


class InlineDevice:
    """A device without threads, for which a fake clock would not wait."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.ready.set()

    async def run(self, runner, samples, *, overlap):
        """Run a batch as soon as the device is ready."""
        await self.ready.wait()
        return BatchResult(runner.run(samples), clock.now(), 0.0)


@asynccontextmanager
async def serving(*models):
    """Run a pool of models and its canary."""
    pool = LocalPool(lambda _: FakeBackend(*models), observer=Recorder())
    pool.backend, pool.lanes = FakeBackend(*models), [replace(pool.lanes[0], threads=InlineDevice())]
    pool.models = {model.card.name: BatchRunner(model, "cpu") for model in models}
    canary = Canary(pool, INTERVAL_S)
    tasks = [asyncio.create_task(job) for job in (pool.serve(), canary.run())]
    try:
        yield pool, canary
    finally:
        for task in tasks:
            task.cancel()


@pytest.fixture
def model():
    return FakeModel("a")


def test_an_idle_device_runs_a_canary_whenever_the_interval_has_passed(model):
    async def play():
        async with serving(model):
            await asyncio.sleep(3 * INTERVAL_S + 1)

    clock.run(play())
    assert model.tried == [1, 1, 1]


def test_a_device_with_requests_runs_no_canary(model):
    async def play():
        async with serving(model) as (pool, _):
            for _ in range(10):
                await asyncio.sleep(0.9 * INTERVAL_S)
                await pool.submit("a", sample(1))

    clock.run(play())
    assert model.tried == [1] * 10


def test_the_smallest_model_runs_the_canary(model):
    large = FakeModel("large")
    large.card = large.card.__class__(**{**large.card.__dict__, "parameters": 10**9})

    async def play():
        async with serving(large, model):
            await asyncio.sleep(INTERVAL_S + 1)

    clock.run(play())
    assert (large.tried, model.tried) == ([], [1])


def test_a_canary_shares_no_batch_and_is_not_observed(model):
    async def play():
        async with serving(model) as (pool, _):
            pool.lanes[0].threads.ready.clear()
            first = asyncio.create_task(pool.submit("a", sample(0)))
            await asyncio.sleep(INTERVAL_S + 1)  # the canary waits
            others = [asyncio.create_task(pool.submit("a", sample(value))) for value in (1, 2)]
            await asyncio.sleep(1)
            assert pool.waiting() == {"a": 2}
            pool.lanes[0].threads.ready.set()
            await asyncio.gather(first, *others)
            await asyncio.sleep(1)
            return pool.observer.ended

    ended = clock.run(play())
    assert sorted(model.tried) == [1, 1, 2]
    assert ended == [("a", 1), ("a", 2)]


@pytest.mark.parametrize("fault", [RuntimeError("broken"), DeviceLost("gone")])
def test_two_failures_in_a_row_are_a_problem_until_the_next_success(model, fault):
    async def play():
        async with serving(model) as (pool, canary):
            model.fault = fault
            seen = []
            for _ in range(2):
                await asyncio.sleep(INTERVAL_S + 0.1)
                seen.append(canary.has_failed)
            model.fault, pool.lost = None, False
            await asyncio.sleep(INTERVAL_S)
            return [*seen, canary.has_failed]

    assert clock.run(play()) == [False, True, False]


def test_a_device_without_memory_for_one_image_is_a_failure(model):
    async def play():
        async with serving(model) as (_, canary):
            model.room = 0
            await asyncio.sleep(2 * INTERVAL_S + 1)
            return canary.has_failed

    assert clock.run(play())


def test_failures_with_a_success_between_are_no_problem(model):
    async def play():
        async with serving(model) as (pool, canary):
            for _ in range(3):
                model.fault = RuntimeError("broken")
                await asyncio.sleep(INTERVAL_S + 0.1)
                model.fault = None
                await pool.submit("a", sample(1))
            return canary.has_failed

    assert not clock.run(play())


def test_a_canary_on_a_device_that_hangs_is_sent_once_and_the_last_success_stays_where_it_was(model):
    async def play():
        async with serving(model) as (pool, _):
            pool.lanes[0].threads.ready.clear()
            await asyncio.sleep(10 * INTERVAL_S)
            return pool.succeeded, pool.lanes[0].batcher.depth

    assert clock.run(play()) == (0.0, 0)
    assert model.tried == []


def test_a_pool_without_models_is_no_problem():
    async def play():
        async with serving() as (pool, canary):
            await asyncio.sleep(3 * INTERVAL_S + 1)
            return clock.now() - pool.succeeded <= INTERVAL_S, canary.has_failed

    assert clock.run(play()) == (True, False)


def test_nothing_has_succeeded_before_the_first_batch(model):
    async def play():
        return LocalPool(lambda _: FakeBackend(model)).succeeded

    assert clock.run(play()) == -math.inf
