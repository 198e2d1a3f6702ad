"""Large images are prepared apart from small ones."""

import asyncio

import numpy as np
import pytest

from service.core.call import Call
from service.core.inputs import ImageTensor
from service.decoding import stages
from tests.service.core.engines import SIDE, caller, png, predict, until, wide_png
from twins.images import decode as images
from twins.tasks.classify import ClassifyOptions

LARGE = 3 * SIDE
HUGE = 6 * SIDE


@pytest.fixture(autouse=True)
def _scale(monkeypatch):
    """Count images as large from twice the usual side on."""
    monkeypatch.setattr(stages, "LARGE_PIXELS", (2 * SIDE) ** 2)


@pytest.fixture
def blocked(monkeypatch, gate):
    """Block the threads that decode large images until the gate is set."""
    decode = images.OpenedImage.decode

    def block(opened, **options):
        assert opened.size[0] == SIDE or gate.wait(10)
        return decode(opened, **options)

    monkeypatch.setattr(images.OpenedImage, "decode", block)
    return gate


async def end(engine):
    engine.pipeline.decode_stages.decoders.end_idle()


async def test_small_images_pass_while_large_ones_take_all_threads_that_they_may(make, blocked):
    engine = make(decode_threads=1, isolate_pixels=0)
    waiting = [asyncio.create_task(predict(engine, wide_png(LARGE))) for _ in range(5)]
    await until(engine.pipeline.decode_stages.large.free.locked)
    async with asyncio.timeout(10):
        (answer,) = await predict(engine, png())
    assert answer.result.predictions[0].label == "light"
    assert not any(task.done() for task in waiting)
    blocked.set()
    await asyncio.gather(*waiting)


async def test_large_pixels_take_the_threads_of_large_images(make, gate):
    engine = make(decode_threads=1)
    held = asyncio.create_task(engine.pipeline.decode_stages.large.run(gate.wait))
    tensor = ImageTensor(np.zeros((LARGE, LARGE, 3), np.uint8))
    with engine.call(caller(), "infer") as outcome:
        call = Call("classify", (tensor,), ClassifyOptions())
        waiting = asyncio.create_task(engine.predict(call, outcome))
        await until(lambda: engine.admission.preparing)
        await predict(engine, png())
        assert not waiting.done()
        gate.set()
        await held
        await waiting


@pytest.mark.parametrize(("isolate_pixels", "isolated"), [(0, False), (HUGE**2, False), (HUGE**2 - 1, True), (1, True)])
async def test_only_images_above_the_limit_are_decoded_in_a_process(make, isolate_pixels, isolated):
    engine = make(isolate_pixels=isolate_pixels)
    (answer,) = await predict(engine, wide_png(HUGE))
    processes = engine.pipeline.decode_stages.decoders.idle
    assert (answer.result.predictions[0].label, len(processes)) == ("dark", int(isolated))
    await end(engine)


async def test_a_small_image_is_never_decoded_in_a_process(make):
    engine = make(isolate_pixels=HUGE**2)
    await predict(engine, png())
    assert not engine.pipeline.decode_stages.decoders.idle
