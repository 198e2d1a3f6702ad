"""Stages: how many functions run at once, and what a cancelled call leaves behind."""

import asyncio
import gc
import threading
import weakref

import pytest

from service.core.stage import ThreadStage
from service.tracing.context import CURRENT, TraceContext, within


class Payload:
    """Something that a call holds."""


@pytest.fixture
async def stage():
    return ThreadStage("test", 1)


@pytest.fixture
def gate():
    """Blocks a thread of the stage until it is set."""
    opened = threading.Event()
    yield opened
    opened.set()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_stage_returns_what_the_function_returns(stage):
    assert (await stage.run(max, 1, 2)).value == 2


async def test_a_stage_raises_what_the_function_raises(stage):
    with pytest.raises(ZeroDivisionError):
        await stage.run(divmod, 1, 0)


async def test_a_failed_call_frees_its_thread(stage):
    with pytest.raises(ZeroDivisionError):
        await stage.run(divmod, 1, 0)
    assert (await stage.run(max, 1, 2)).value == 2


async def test_a_call_waits_until_a_thread_is_free(stage, gate):
    first = asyncio.create_task(stage.run(gate.wait))
    second = asyncio.create_task(stage.run(max, 1, 2))
    await settle()
    waiting = not second.done()
    gate.set()
    assert waiting
    assert (await second).queue_s > 0
    await first


async def test_a_cancelled_call_that_waited_leaves_nothing_behind(stage, gate):
    first = asyncio.create_task(stage.run(gate.wait))
    await settle()
    payload = Payload()
    alive = weakref.ref(payload)
    waiting = asyncio.create_task(stage.run(id, payload))
    await settle()
    waiting.cancel()
    await asyncio.wait({waiting})
    del payload, waiting
    gc.collect()
    assert alive() is None
    gate.set()
    await first


async def test_a_thread_of_a_cancelled_call_is_not_free_before_it_has_returned(stage, gate):
    running = asyncio.create_task(stage.run(gate.wait))
    await settle()
    running.cancel()
    await asyncio.wait({running})
    taken = stage.free.locked()
    gate.set()
    async with asyncio.timeout(10):
        assert (await stage.run(max, 1, 2)).value == 2
    assert taken


async def test_a_function_has_the_trace_of_its_call(stage):
    trace = TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", sampled=True)
    with within(trace):
        assert (await stage.run(CURRENT.get)).value == trace
    assert (await stage.run(CURRENT.get)).value is None
