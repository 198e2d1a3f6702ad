"""Decoder processes: the same answers as in threads, and images whose decoding is aborted."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import psutil
import pytest
from PIL import Image
from structlog.testing import capture_logs

from service import metric_series
from service.core.memory import MemoryBudget
from service.decoding.decoder_pool import DecodeJob, Decoder, DecoderPool
from service.decoding.preparation import PREPARE_BYTES, Preparation, Prepared
from service.errors import Cancelled, DecodeTimeout, Unavailable, UnreadableImage
from tests import crafted, hostile
from tests.server import wait_until
from tests.service.core.engines import until
from tests.service.counting import counted
from twins.card import Card, Geometry, Label, Normalisation
from twins.images.decode import ImageError, Limits
from twins.tasks import TASKS

WIDTH, HEIGHT = SIZE = (900, 600)
LARGE = crafted.image(size=SIZE)
FILES = {
    "JPEG": crafted.encoded("JPEG", LARGE),
    "progressive JPEG": crafted.encoded("JPEG", LARGE, progressive=True),
    "turned JPEG": hostile.oriented("JPEG", 6, LARGE),
    "mirrored WEBP": hostile.oriented("WEBP", 7, LARGE),
    "PNG with transparency": crafted.encoded("PNG", LARGE.convert("RGBA")),
    "PNG with 16 bits": crafted.encoded("PNG", hostile.sixteen_bits()),
}
LIMITS = Limits()


def preparation(task: str = "classify", **changes) -> Preparation:
    labels = (Label("dark"), Label("light"))
    geometry = Geometry(64, crop=48) if TASKS[task].model_task == "classify" else Geometry(64, long_side=256)
    card = Card("m", TASKS[task].model_task, "none", labels, geometry, Normalisation(), True, "tests", "none")
    how = Preparation(task, card, TASKS[task].options(), LIMITS, exif_orientation=True, reduces=True, shown=False)
    return replace(how, **changes)


@pytest.fixture(scope="module")
def shared():
    """Decoder processes that the tests share which do not harm them."""
    pool = DecoderPool(processes=1, timeout_s=30, limits=LIMITS)
    yield pool
    pool.end_idle()


@pytest.fixture
def make():
    made = []

    def pool(**options) -> DecoderPool:
        made.append(DecoderPool(**{"processes": 1, "timeout_s": 30, "limits": LIMITS, **options}))
        return made[-1]

    yield pool
    for each in made:
        each.end_idle()


@pytest.fixture
def budget():
    return MemoryBudget(2**30)


async def prepare(pool: DecoderPool, data: bytes = FILES["JPEG"], how: Preparation | None = None, budget=None):
    """Return what a decoder process returns."""
    with (budget or MemoryBudget(2**30)).open() as memory:
        return (await pool.run(data, how or preparation(), memory, WIDTH * HEIGHT)).value


async def stopped(pool: DecoderPool) -> int:
    """Stop the process for the next image, so that it hangs. Return its id."""
    await prepare(pool)
    pid = pool.idle[0].process.pid
    os.kill(pid, signal.SIGSTOP)
    return pid


def gone(pid: int) -> bool:
    """Return whether a process has ended."""
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@contextmanager
def aborted(reason: str):
    """Check that the block counts the decoding of one image as aborted for that reason."""
    before = counted(metric_series.DECODES_ABORTED, reason=reason)
    yield
    assert counted(metric_series.DECODES_ABORTED, reason=reason) == before + 1


# ---------------------------------------------------------------------- the same answers


@pytest.mark.parametrize("way", [{}, {"reduces": False}, {"shown": True}, {"exif_orientation": False}], ids=str)
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("task", TASKS)
async def test_a_process_returns_what_a_thread_returns(shared, task, file, way):
    how = preparation(task, **way)
    expected = how.decode(how.open(FILES[file]))
    found = await prepare(shared, FILES[file], how)
    assert np.array_equal(found.sample.pixels, expected.sample.pixels)
    assert found.sample.params == expected.sample.params
    assert shown_pixels(found) == shown_pixels(expected)


def shown_pixels(prepared: Prepared) -> tuple | None:
    return prepared.image and (prepared.image.mode, prepared.image.size, prepared.image.tobytes())


async def test_the_options_of_a_call_reach_the_process(shared):
    options = TASKS["segment"].options(size="model", classes=("light",), threshold=0.5)
    how = preparation("segment", options=options)
    assert (await prepare(shared, how=how)).sample.params == how.decode(how.open(FILES["JPEG"])).sample.params


REFUSED = {name: file for name, file in hostile.files().items() if file.outcome != hostile.OK}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_process_refuses_what_a_thread_refuses(shared, name):
    how = preparation()
    with pytest.raises(ImageError) as expected:
        how.decode(how.open(REFUSED[name].data))
    with pytest.raises(REFUSED[name].outcome) as found:
        await prepare(shared, REFUSED[name].data)
    assert str(found.value) == str(expected.value)


# ---------------------------------------------------------------------- the life of a process


async def test_a_process_serves_one_image_after_another(shared):
    await prepare(shared)
    pid = shared.idle[0].process.pid
    await prepare(shared)
    assert [each.process.pid for each in shared.idle] == [pid]


async def test_no_process_runs_before_the_first_image(make):
    assert not make().idle


async def test_a_process_ends_when_it_has_been_idle(make):
    pool = make()
    await prepare(pool)
    pid = pool.idle[0].process.pid
    pool.end_idle(60)
    kept = not gone(pid)
    pool.end_idle(0)
    assert (kept, gone(pid), pool.idle) == (True, True, [])


async def test_a_process_that_ended_while_it_was_idle_is_replaced(make):
    pool = make()
    await prepare(pool)
    pool.idle[0].process.kill()
    pool.idle[0].process.wait()
    assert (await prepare(pool)).sample.pixels.shape == (48, 48, 3)


async def test_idle_processes_end_in_a_thread(make, monkeypatch):
    monkeypatch.setattr("service.decoding.decoder_pool.IDLE_S", 0.0)
    pool, threads = make(), []
    pool.end_idle = lambda idle_s=0.0: threads.append(threading.current_thread())
    await prepare(pool)
    await until(lambda: threads)
    del pool.end_idle
    assert threads != [threading.main_thread()]


async def test_an_image_takes_no_process_that_is_about_to_end(make):
    pool = make(processes=2)
    await asyncio.gather(prepare(pool), prepare(pool))
    first, second = pool.idle
    end, taken = first.end, []

    def end_while_another_image_comes() -> int:
        taken.append(pool.take())
        return end()

    first.end = end_while_another_image_comes
    pool.end_idle()
    (decoder,) = taken
    assert (decoder.reusable, second.reusable) == (True, False)
    decoder.end()


SUPERVISED = """
import os, signal, sys, time
from service.decoding.decoder_pool import Decoder
decoder = Decoder(2**30)
os.kill(decoder.process.pid, signal.SIGSTOP)  # as if it were busy
print(decoder.process.pid, flush=True)
time.sleep(60)
"""


def test_a_busy_process_ends_with_its_frontend():
    with subprocess.Popen([sys.executable, "-c", SUPERVISED], stdout=subprocess.PIPE) as frontend:
        pid = int(frontend.stdout.readline())
        frontend.kill()
    wait_until(lambda: gone(pid), what="the end of the decoder")


async def test_a_process_knows_no_secret_and_may_open_few_files(shared, monkeypatch):
    monkeypatch.setenv("TWINS_API_KEYS", "secret")
    shared.end_idle()
    await prepare(shared)
    process = psutil.Process(shared.idle[0].process.pid)
    assert "TWINS_API_KEYS" not in process.environ()
    assert process.rlimit(resource.RLIMIT_NOFILE) == (32, 32)
    assert process.rlimit(resource.RLIMIT_CORE) == (0, 0)


# ---------------------------------------------------------------------- images whose decoding is aborted


async def test_an_image_that_takes_too_long_is_given_up_and_the_next_one_is_decoded(make):
    pool = make(timeout_s=0.2)
    pid = await stopped(pool)
    with aborted("timeout"), pytest.raises(DecodeTimeout):
        await prepare(pool)
    assert gone(pid)
    pool.timeout_s = 30
    await prepare(pool)


async def test_an_image_that_crashes_its_process_is_unreadable_and_the_next_one_is_decoded(make):
    pool = make()
    pid = await stopped(pool)
    crashing = asyncio.create_task(prepare(pool))
    await until(lambda: not pool.idle)
    os.kill(pid, signal.SIGSEGV)
    os.kill(pid, signal.SIGCONT)
    with capture_logs() as log, aborted("crash"), pytest.raises(UnreadableImage):
        await crashing
    assert log[0]["code"] == -signal.SIGSEGV
    await prepare(pool)


async def test_an_image_that_takes_too_much_memory_is_unreadable(make):
    data = crafted.encoded("PNG", Image.new("RGB", (3000, 3000)), compress_level=1)
    with capture_logs(), aborted("crash"), pytest.raises(UnreadableImage):
        await prepare(make(memory_bytes=2**24), data)


async def test_the_process_of_a_call_that_is_cancelled_is_killed(make, budget):
    pool = make()
    pid = await stopped(pool)
    with aborted("cancelled"):
        call = asyncio.create_task(prepare(pool, budget=budget))
        await until(lambda: not pool.idle)
        call.cancel()
        await until(lambda: budget.reserved_bytes == 0 and not pool.stage.free.locked())
    assert gone(pid)
    await prepare(pool)


async def test_a_call_that_is_cancelled_while_it_waits_harms_no_other(make):
    pool = make()
    pid = await stopped(pool)
    first, second = (asyncio.create_task(prepare(pool)) for _ in range(2))
    await until(lambda: not pool.idle)
    second.cancel()
    await asyncio.wait({second})
    os.kill(pid, signal.SIGCONT)
    await first
    assert pool.idle[0].process.pid == pid


async def test_an_image_that_was_given_up_before_takes_no_process(make, budget):
    pool, job = make(), DecodeJob()
    await prepare(pool)
    pool.idle[0].busy = True  # as if it were of no use, so that taking it would end it
    job.cancel()
    with budget.open() as memory, pytest.raises(Cancelled):
        pool.prepare(FILES["JPEG"], preparation(), memory, WIDTH * HEIGHT, job)
    assert len(pool.idle) == 1


async def test_a_process_serves_on_if_an_image_is_given_up_before_it_is_sent(make, budget):
    pool, job = make(), DecodeJob()
    await prepare(pool)
    pid, take = pool.idle[0].process.pid, pool.take

    def take_while_the_call_ends() -> Decoder:
        job.cancel()
        return take()

    pool.take = take_while_the_call_ends
    with budget.open() as memory, pytest.raises(Cancelled):
        pool.prepare(FILES["JPEG"], preparation(), memory, WIDTH * HEIGHT, job)
    pool.take = take
    await prepare(pool)
    assert pool.idle[0].process.pid == pid


async def test_a_process_that_was_killed_after_its_answer_takes_no_other_image(make):
    pool = make()
    with pool.decoder(DecodeJob()) as decoder:
        pool.prepare_in(decoder, FILES["JPEG"], preparation(), DecodeJob())
        decoder.kill()
    assert not pool.idle


async def test_memory_is_reserved_while_a_process_decodes(make, budget):
    pool = make()
    pid = await stopped(pool)
    call = asyncio.create_task(prepare(pool, budget=budget))
    await until(lambda: not pool.idle)
    reserved = budget.reserved_bytes
    os.kill(pid, signal.SIGCONT)
    await call
    assert (reserved, budget.reserved_bytes) == (PREPARE_BYTES * WIDTH * HEIGHT, 0)


async def test_without_a_free_file_descriptor_the_service_is_unavailable_and_recovers(make):
    pool = make()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with capture_logs(), pytest.raises(Unavailable):
            await prepare(pool)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    await prepare(pool)
