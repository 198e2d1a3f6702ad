"""The engine's threads, and the memory that calls hold and free."""

import asyncio
import gc
import random
import sys
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from service import errors
from service.core.call import Call
from service.errors import ServiceError
from tests.service.core.engines import SIDE, caller, png, predict, until, wide_png
from twins.errors import BadOption
from twins.images import decode as images
from twins.tasks.classify import ClassifyOptions

# ---------------------------------------------------------------------- threads


async def test_a_finished_image_does_not_wait_for_images_that_are_being_decoded(make, pool, gate, monkeypatch):
    engine = make(decode_threads=1)
    pool.gate.clear()
    first = asyncio.create_task(predict(engine, png()))
    await until(lambda: pool.asked)
    open_image = images.open_image

    def block(*arguments, **options):
        assert gate.wait(10)
        return open_image(*arguments, **options)

    monkeypatch.setattr(images, "open_image", block)
    others = [asyncio.create_task(predict(engine, png())) for _ in range(4)]
    await until(engine.pipeline.decode_stages.small.free.locked)
    pool.gate.set()
    async with asyncio.timeout(10):
        (answer,) = await first
    assert answer.result.predictions[0].label == "light"
    gate.set()
    await asyncio.gather(*others)


async def test_the_wait_for_a_thread_that_decodes_is_a_stage(make, gate):
    engine = make(decode_threads=1)
    blocked = asyncio.create_task(engine.pipeline.decode_stages.small.run(gate.wait))
    waiting = asyncio.create_task(predict(engine, png()))
    await until(lambda: engine.admission.preparing)
    began = asyncio.get_running_loop().time()
    await asyncio.sleep(0.01)
    waited_s = asyncio.get_running_loop().time() - began
    gate.set()
    await blocked
    (answer,) = await waiting
    assert answer.timing.decode_queue >= waited_s


# ---------------------------------------------------------------------- memory


async def test_a_calls_memory_is_counted_until_its_end(engine, pool):
    pool.gate.clear()
    call = asyncio.create_task(predict(engine, png()))
    await until(lambda: pool.asked)
    held = engine.memory.reserved_bytes
    pool.gate.set()
    await call
    assert (held, engine.memory.reserved_bytes) == (SIDE * SIDE * 3, 0)


async def test_an_image_whose_pixels_memory_cannot_hold_has_an_error_of_its_own(make):
    engine = make(max_held_bytes=2048, max_body_bytes=1024)
    small, large = await predict(engine, png(), wide_png(64))
    assert type(large) is errors.TooLarge
    assert small.result.predictions[0].label == "light"


@pytest.fixture
def no_collector():
    """Disable the garbage collector, so that only objects without references are freed."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
async def test_a_cancelled_call_frees_its_images_at_once(make, gate):
    engine = make(decode_threads=1)
    blocked = asyncio.create_task(engine.pipeline.decode_stages.small.run(gate.wait))
    data = png()
    before = sys.getrefcount(data)
    call = asyncio.create_task(predict(engine, data))
    await until(lambda: engine.admission.preparing)
    call.cancel()
    await asyncio.wait({call})
    del call
    assert sys.getrefcount(data) == before
    gate.set()
    await blocked


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("kind", [RuntimeError, errors.Internal])
async def test_a_failed_image_is_freed_at_once(engine, pool, kind):
    data = png()
    before = sys.getrefcount(data)
    pool.fault = kind("the model failed")
    with capture_logs():
        await predict(engine, data)
    pool.fault = None
    await until(lambda: sys.getrefcount(data) == before)  # a thread may still be leaving the last function


ENDINGS = ("answered", "bad image", "late", "cancelled", "worker's error", "unexpected error", "refused option")


@pytest.mark.parametrize("seed", range(8))
async def test_no_memory_is_reserved_after_any_mixture_of_calls(make, pool, seed):
    chance = random.Random(seed)
    engine = make(decode_threads=2, max_held_bytes=100_000, max_body_bytes=1024)
    pool.faults = {"worker's error": errors.Internal("the model failed"), "unexpected error": RuntimeError("bug")}

    async def one(ending: str) -> None:
        await asyncio.sleep(chance.random() / 100)
        data = b"no image" if ending == "bad image" else wide_png(chance.choice((8, 30, 90)))
        timeout_s = 0.002 if ending == "late" else None
        with suppress(ServiceError), engine.call(caller(timeout_s), "infer") as outcome:
            outcome.memory.reserve(len(data))
            options = ClassifyOptions(5)
            if ending == "refused option":
                raise BadOption("no such option")
            pool.fault = pool.faults.get(ending)
            await engine.predict(Call("classify", (data,) * chance.randint(1, 4), options), outcome)

    calls = {}
    for _ in range(60):
        ending = chance.choice(ENDINGS)
        calls[asyncio.create_task(one(ending))] = ending
    await until(lambda: pool.asked)
    for call, ending in calls.items():
        if ending == "cancelled":
            call.cancel()
    with capture_logs():
        await asyncio.gather(*calls, return_exceptions=True)
    await until(lambda: engine.memory.reserved_bytes == 0)
    assert engine.memory.running == 0


async def test_an_image_that_fails_gives_its_memory_back_before_its_call_ends(engine, pool):
    pool.fault = errors.Unavailable("gone")
    with engine.call(caller(), "infer") as outcome:
        (answer,) = await engine.predict(Call("classify", (png(),), ClassifyOptions(1)), outcome)
        assert (type(answer), outcome.memory.size_bytes) == (errors.Unavailable, 0)
