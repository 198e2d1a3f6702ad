"""What most calls skip: a thread for small results, and a task for a single image. Their answers are the same."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from service.core import pipeline
from service.core.call import Call
from tests.service.core.engines import caller, png, predict
from twins.render.renderer import JSON, Renderer, RenderInput
from twins.tasks.classify import ClassifyOptions

IMAGES = (png(255), png(0), b"no image")


@pytest.fixture
def in_threads(monkeypatch) -> Callable[[], None]:
    """Return a function that makes the pipeline finish every result in a thread."""
    return lambda: monkeypatch.setattr(pipeline, "INLINE_BYTES", -1)


async def thread_that_renders(engine) -> str:
    """Return the name of the thread in which an answer is rendered."""

    def name(_: RenderInput) -> bytes:
        return threading.current_thread().name.encode()

    call = Call("classify", (png(),), ClassifyOptions(), renderer=Renderer({JSON: name}), media_type=JSON)
    with engine.call(caller(), "infer") as outcome:
        answer = await engine.predict_one(call, outcome)
    return answer.result.content.decode()


async def test_a_small_result_is_finished_in_the_event_loop(engine):
    assert await thread_that_renders(engine) == threading.main_thread().name


async def test_a_larger_result_is_finished_in_a_thread(engine, in_threads):
    in_threads()
    assert (await thread_that_renders(engine)).startswith("finish")


@pytest.mark.parametrize("top_k", [1, 2, 5])
async def test_a_result_is_the_same_in_the_event_loop_and_in_a_thread(engine, in_threads, top_k):
    inline = await predict(engine, *IMAGES[:2], top_k=top_k)
    in_threads()
    assert [answer.result for answer in await predict(engine, *IMAGES[:2], top_k=top_k)] == [a.result for a in inline]


async def test_results_leave_no_memory_reserved_wherever_they_are_finished(engine, in_threads):
    await predict(engine, *IMAGES)
    in_threads()
    await predict(engine, *IMAGES)
    assert engine.memory.reserved_bytes == 0


async def test_an_image_alone_runs_in_the_task_of_its_call(engine, pool, monkeypatch):
    tasks, submit = [], pool.submit

    async def record(*arguments, **named):
        tasks.append(asyncio.current_task())
        return await submit(*arguments, **named)

    monkeypatch.setattr(pool, "submit", record)
    await predict(engine, png())
    assert tasks == [asyncio.current_task()]


@pytest.mark.parametrize("image", IMAGES, ids=["light", "dark", "bad"])
async def test_an_image_gets_the_same_answer_alone_and_among_others(engine, image):
    (alone,) = await predict(engine, image)
    first, _ = await predict(engine, image, png())
    if isinstance(alone, Exception):
        assert (type(first), str(first)) == (type(alone), str(alone))
    else:
        assert first.result == alone.result
