"""Batches beside each other: which ones run at once, and which one has the device to itself."""

import asyncio
import math
import threading
from contextlib import asynccontextmanager

from service.core.lane import Occupancy
from service.core.local import Key, LocalPool
from tests.backends import FakeBackend, FakeModel, card, sample
from twins.runtime.backend import Device
from twins.zoo.models import ModelReference


class Blocked(FakeModel):
    """A model whose batches run until they are released."""

    def __init__(self, name, task="classify") -> None:
        super().__init__(name)
        self.card = card(name, task)
        self.running, self.released = threading.Event(), threading.Event()

    def warm_up(self, batch_size):
        """Do nothing: only batches of requests are blocked."""

    def run(self, samples):
        self.running.set()
        assert self.released.wait(10)
        return super().run(samples)


@asynccontextmanager
async def serving(*models, any_thread=True):
    """Run a pool on a device that may be used from any thread."""
    backend = FakeBackend(*models)
    backend.device = Device("fake", "cpu", 1, any_thread=any_thread)
    pool = LocalPool(lambda _: backend)
    await pool.open()
    for model in models:
        await pool.load(ModelReference(model.card.name))
    server = asyncio.create_task(pool.serve())
    try:
        yield pool
    finally:
        for model in models:
            model.released.set()
        server.cancel()
        pool.close()


def start(pool, name, *, alone=None):
    given = sample(1)
    return pool.start(Key(name, given.layout, alone=alone), given, expires=math.inf)


async def running(model) -> bool:
    """Return whether a batch of the model starts within a moment."""
    return await asyncio.to_thread(model.running.wait, 0.2)


# ---------------------------------------------------------------------- the lanes of a pool


async def test_a_class_does_not_wait_for_a_mask_that_runs():
    masks, classes = Blocked("masks", "segment"), Blocked("classes")
    classes.released.set()
    async with serving(masks, classes) as pool:
        mask = start(pool, "masks")
        assert await running(masks)
        await asyncio.wait_for(start(pool, "classes"), 5)
        assert (mask.done(), pool.busy_s() > 0) == (False, True)


async def test_masks_and_boxes_wait_for_each_other():
    masks, boxes = Blocked("masks", "segment"), Blocked("boxes", "detect")
    async with serving(masks, boxes) as pool:
        answers = [start(pool, "masks"), start(pool, "boxes")]
        assert (await running(masks), await running(boxes)) == (True, False)
        assert pool.waiting() == {"boxes": 1}
        masks.released.set()
        boxes.released.set()
        await asyncio.gather(*answers)


async def test_a_device_of_one_thread_has_one_lane():
    masks, classes = Blocked("masks", "segment"), Blocked("classes")
    async with serving(masks, classes, any_thread=False) as pool:
        answers = [start(pool, "masks"), start(pool, "classes")]
        assert (await running(masks), await running(classes)) == (True, False)
        masks.released.set()
        classes.released.set()
        await asyncio.gather(*answers)


async def test_a_sample_that_runs_alone_has_both_lanes_to_itself():
    masks, classes = Blocked("masks", "segment"), Blocked("classes")
    async with serving(masks, classes) as pool:
        answers = [start(pool, "classes", alone=1), start(pool, "masks")]
        assert (await running(classes), await running(masks)) == (True, False)
        classes.released.set()
        masks.released.set()
        await asyncio.gather(*answers)


# ---------------------------------------------------------------------- a batch alone


class Batches:
    """Batches that hold the device, and what happened in which order."""

    def __init__(self) -> None:
        self.occupancy, self.events = Occupancy(), []

    async def run(self, name):
        """Run a batch of three steps. Those of a capital letter run alone."""
        async with self.occupancy.occupied(alone=name.isupper()):
            self.events.append(name)
            for _ in range(3):
                await asyncio.sleep(0)
            self.events.append(f"{name} ended")


async def events(names) -> list[str]:
    """Return what happens with batches that arrive in that order."""
    batches = Batches()
    await asyncio.gather(*map(batches.run, names))
    return batches.events


async def test_batches_run_beside_each_other():
    assert await events("ab") == ["a", "b", "a ended", "b ended"]


async def test_two_batches_that_run_alone_do_not_overlap():
    assert await events("AB") == ["A", "A ended", "B", "B ended"]


async def test_a_batch_that_runs_alone_waits_until_those_before_it_have_ended():
    assert await events("abC") == ["a", "b", "a ended", "b ended", "C", "C ended"]


async def test_no_batch_overtakes_one_that_waits_to_run_alone():
    assert await events("aBc") == ["a", "a ended", "B", "B ended", "c", "c ended"]


async def test_a_batch_that_gives_up_waiting_to_run_alone_blocks_no_other():
    batches = Batches()
    tasks = [asyncio.create_task(batches.run(name)) for name in "aBc"]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert batches.events == ["a", "c", "a ended", "c ended"]
