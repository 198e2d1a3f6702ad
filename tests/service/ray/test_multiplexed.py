"""A pool that keeps some of the models, over a device that does nothing, with the cache of Ray Serve in short."""

import asyncio
from collections import OrderedDict

import pytest

from service.core.pool import PoolOutput
from service.errors import Unavailable
from service.ray.multiplexed import MultiplexedPool
from tests.service.core.engines import CARDS, until
from twins.errors import CheckpointError
from twins.tasks.sample import Output
from twins.zoo.models import ModelReference


class Device:
    """A `LocalPool` whose samples wait for a gate."""

    def __init__(self) -> None:
        self.models, self.on_change, self.problems, self.lost = {}, [], {}, False
        self.gate = asyncio.Event()
        self.gate.set()
        self.events: list[str] = []
        self.waiting = 0

    async def load(self, reference, *, warm_up=True):
        self.events.append(f"load {reference.key}")
        await asyncio.sleep(0)
        self.models[reference.key] = card = {each.name: each for each in CARDS}[reference.name]
        return card

    async def unload(self, key):
        self.events.append(f"unload {key}")
        del self.models[key]

    async def submit(self, model, sample, *, expires, upcoming=0, priority=2):
        assert model in self.models
        self.waiting += 1
        await self.gate.wait()
        self.waiting -= 1
        return PoolOutput(Output(()), 0, 0, 1)


def keeping(most: int):
    """Return a cache that keeps so many models, as `serve.multiplexed` does."""
    kept, lock = OrderedDict(), asyncio.Lock()

    def cache(load):
        async def loaded(key):
            if key in kept:
                kept.move_to_end(key)
                return kept[key]
            async with lock:
                if key not in kept:
                    if len(kept) >= most:
                        _, dropped = kept.popitem(last=False)
                        await dropped.__del__()
                    kept[key] = await load(key)
                return kept[key]

        return loaded

    return cache


@pytest.fixture
async def device():
    return Device()


@pytest.fixture
async def pool(device):
    references = [ModelReference(card.name) for card in CARDS]
    made = MultiplexedPool(device, references, device.load, keeping(1))
    await made.open()
    device.events.clear()
    return made


async def submit(pool, model):
    return await pool.submit(model, None, expires=float("inf"))


async def test_all_models_are_known_while_none_is_on_the_device(pool, device):
    assert list(pool.cards) == [card.name for card in CARDS]
    assert (pool.ready, device.models) == (1, {})


async def test_a_model_is_loaded_for_its_first_sample_only(pool, device):
    await submit(pool, "first")
    await submit(pool, "first")
    assert device.events == ["load first"]


async def test_the_model_before_is_unloaded_after_its_last_sample(pool, device):
    device.gate.clear()
    first = asyncio.create_task(submit(pool, "first"))
    await until(lambda: device.waiting == 1)
    second = asyncio.create_task(submit(pool, "second"))
    again = asyncio.create_task(submit(pool, "first"))  # waits until it is loaded again
    for _ in range(20):
        await asyncio.sleep(0)
    assert device.events == ["load first"]
    device.gate.set()
    await asyncio.gather(first, second, again)
    assert device.events[:3] == ["load first", "unload first", "load second"]


async def test_two_models_in_turn_never_run_when_they_are_not_loaded(pool, device):
    await asyncio.gather(*(submit(pool, card.name) for _ in range(10) for card in CARDS))


async def test_a_request_that_is_abandoned_leaves_its_model_to_be_loaded(pool, device):
    abandoned = asyncio.create_task(submit(pool, "first"))
    await asyncio.sleep(0)
    abandoned.cancel()
    await until(lambda: "first" in device.models)


async def test_a_model_that_cannot_be_loaded_is_unavailable(pool, device):
    async def broken(reference):
        raise CheckpointError("the file is gone")

    pool.load = broken
    with pytest.raises(Unavailable, match="the file is gone"):
        await submit(pool, "first")
