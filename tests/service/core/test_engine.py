"""The engine over a fake pool: errors, rejected calls, readiness and metrics."""

import asyncio
import gc
import io
import random
import sys
import threading
from collections.abc import Callable
from contextlib import contextmanager, suppress

import numpy as np
import pytest
from PIL import Image
from structlog.testing import capture_logs

from service import errors, metrics
from service.core.call import Answer, Call, Caller
from service.core.engine import Engine
from service.core.pool import PoolOutput
from service.errors import ServiceError
from service.settings import Settings
from tests.service.counting import counted
from twins.card import Card, Geometry, Label, Normalisation
from twins.errors import BadOption
from twins.images import decode as images
from twins.tasks.classify import ClassifyOptions
from twins.tasks.sample import Output

SIDE = 8


def card(name: str, *, exif: bool = True) -> Card:
    """Return the card of a model with 8×8 pixels that distinguishes light and dark."""
    labels = (Label("dark"), Label("light"))
    return Card(name, "classify", "none", labels, Geometry(SIDE), Normalisation(), exif, "tests", "none")


CARDS = (card("first"), card("second", exif=False))


class FakePool:
    """Workers that return the brightness of the upper half of an image. They raise `fault` instead if it is set."""

    def __init__(self) -> None:
        self.ready, self.expected, self.recovering = 1, 1, False
        self.cards = {card.name: card for card in CARDS}
        self.on_change: list[Callable[[], None]] = []
        self.asked: list[tuple[str, float, int]] = []
        self.fault: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.held = 0  # further samples that are never answered
        self.abandoned = 0

    @property
    def available(self) -> bool:
        return self.ready > 0 or self.recovering

    async def submit(self, model, sample, *, expires, upcoming=0) -> PoolOutput:
        self.asked.append((model, expires, upcoming))
        await self.gate.wait()
        if self.held:
            self.held -= 1
            await self.never()
        if self.fault is not None:
            raise self.fault
        light = float(sample.pixels[: SIDE // 2].mean() / 255)
        ids = np.int64([1, 0] if light > 0.5 else [0, 1])
        return PoolOutput(Output((ids, np.float32([max(light, 1 - light), min(light, 1 - light)]))), 0.1, 0.4, 4)

    async def never(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.abandoned += 1


def wide_png(side: int) -> bytes:
    """Return a black image of this side."""
    file = io.BytesIO()
    Image.new("RGB", (side, side)).save(file, "PNG")
    return file.getvalue()


async def until(condition: Callable) -> None:
    """Let the event loop run until the condition is true."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def png(shade: int = 255, **save) -> bytes:
    """Return an image whose upper half has this shade and whose lower half is black."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[: SIDE // 2] = shade
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", **save)
    return file.getvalue()


def upside_down() -> bytes:
    """Return an image with a light lower half and an orientation that rotates it."""
    exif = Image.Exif()
    exif[0x0112] = 3
    return png(exif=exif)


@pytest.fixture
async def pool():
    return FakePool()


@pytest.fixture
async def make(pool) -> Callable[..., Engine]:
    """Return a function that makes an engine with these settings, which knows its models."""

    def engine(**settings) -> Engine:
        return Engine(Settings(**settings), pool)

    return engine


@pytest.fixture
async def engine(make):
    return make()


def caller(timeout_s: float | None = None, key: str | None = None) -> Caller:
    """Return a caller that has just arrived."""
    return Caller("id-1", "http", asyncio.get_running_loop().time(), timeout_s, key)


async def predict(engine: Engine, *images: bytes, model=None, timeout_s=None, top_k=5):
    """Return the answers of a call."""
    with engine.call(caller(timeout_s)) as outcome:
        return await engine.predict(Call("classify", images, ClassifyOptions(top_k), model), outcome)


async def best(engine: Engine, image: bytes, model: str | None = None) -> str:
    """Return the best label of one image."""
    (answer,) = await predict(engine, image, model=model)
    return answer.result.predictions[0].label


# ---------------------------------------------------------------------- answers and errors


async def test_answers_come_in_the_order_of_the_images(engine):
    answers = await predict(engine, png(255), png(0), png(255))
    assert [answer.result.predictions[0].label for answer in answers] == ["light", "dark", "light"]


async def test_a_bad_image_has_its_own_error(engine):
    _, bad, _ = await predict(engine, png(), b"no image", png())
    assert isinstance(bad, errors.UnsupportedMedia)


async def test_a_bad_image_leaves_its_neighbours_their_answers(engine):
    first, _, last = await predict(engine, png(255), b"no image", png(0))
    assert [answer.result.predictions[0].label for answer in (first, last)] == ["light", "dark"]


async def test_a_bad_image_never_reaches_a_worker(engine, pool):
    await predict(engine, b"no image")
    assert pool.asked == []


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", errors.UnsupportedMedia),
        (b"%PDF-1.7", errors.UnsupportedMedia),
        (png()[:50], errors.UnreadableImage),
        (png() + bytes(2000), errors.TooLarge),
    ],
    ids=["empty", "pdf", "truncated", "too large"],
)
async def test_a_bad_image_gets_the_error_of_its_kind(make, data, kind):
    (refusal,) = await predict(make(max_image_bytes=1000), data)
    assert type(refusal) is kind


async def test_one_image_alone_raises_its_error(engine):
    with pytest.raises(errors.UnsupportedMedia), engine.call(caller()) as outcome:
        await engine.predict_one(Call("classify", (b"no image",), ClassifyOptions()), outcome)


async def test_an_error_of_a_worker_is_the_error_of_its_image(engine, pool):
    pool.fault = errors.Internal("the model failed on this image")
    assert await predict(engine, png()) == [pool.fault]


async def test_the_number_of_classes_is_top_k(engine):
    (answer,) = await predict(engine, png(), top_k=1)
    assert len(answer.result.predictions) == 1


async def test_an_answer_has_the_time_of_each_stage(engine):
    (answer,) = await predict(engine, png())
    assert (answer.timing.queue, answer.timing.infer) == (0.1, 0.4)


# ---------------------------------------------------------------------- refusals of the whole call


async def refusal(engine: Engine, *images: bytes, **options) -> ServiceError:
    """Return the error of a rejected call."""
    with pytest.raises(ServiceError) as caught:
        await predict(engine, *images, **options)
    return caught.value


async def test_no_image_is_a_bad_request(engine):
    assert type(await refusal(engine)) is errors.BadRequest


async def test_too_many_images_are_too_large(make):
    assert type(await refusal(make(max_images=2), *[png()] * 3)) is errors.TooLarge


async def test_an_unknown_model_is_rejected_with_the_served_models(engine):
    told = await refusal(engine, png(), model="third")
    assert (type(told), "first, second" in told.detail) == (errors.UnknownModel, True)


async def test_no_call_is_accepted_before_the_models_are_known(engine, pool):
    pool.cards.clear()
    assert type(await refusal(engine, png())) is errors.Unavailable


async def test_no_call_is_accepted_without_a_worker(engine, pool):
    pool.ready = 0
    assert type(await refusal(engine, png())) is errors.Unavailable


async def test_a_full_queue_rejects_the_whole_call(make, pool):
    engine = make(max_queue=2)
    pool.gate.clear()
    first = asyncio.create_task(predict(engine, png(), png()))
    await asyncio.sleep(0)
    told = await refusal(engine, png())
    pool.gate.set()
    await first
    assert type(told) is errors.Overloaded


async def test_a_call_that_takes_too_long_exceeds_its_deadline(make, pool):
    pool.gate.clear()
    assert type(await refusal(make(request_timeout_s=0.05), png())) is errors.DeadlineExceeded


async def test_a_call_that_took_too_long_is_no_longer_in_flight(make, pool):
    engine = make(request_timeout_s=0.05)
    pool.gate.clear()
    await refusal(engine, png())
    assert engine.admission.in_flight == 0


async def test_an_invalid_deadline_is_a_bad_request(engine):
    assert type(await refusal(engine, png(), timeout_s=float("nan"))) is errors.BadRequest


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, float("-inf"), 0.0009])
async def test_a_deadline_that_had_passed_before_the_request_is_the_clients_fault(engine, timeout_s):
    assert type(await refusal(engine, png(), timeout_s=timeout_s)) is errors.DeadlineAlreadyPassed


@pytest.mark.parametrize(("asked_s", "granted_s"), [(2.0, 2.0), (60.0, 10.0), (None, 10.0), (float("inf"), 10.0)])
async def test_the_deadline_of_a_client_is_limited_by_the_settings(make, asked_s, granted_s):
    asker = caller(asked_s)
    with make(request_timeout_s=10).call(asker) as outcome:
        assert outcome.deadline == asker.arrived + granted_s


async def test_a_worker_gets_the_deadline_of_the_call(make, pool):
    engine = make(request_timeout_s=10)
    asker = caller()
    with engine.call(asker) as outcome:
        await engine.predict(Call("classify", (png(),), ClassifyOptions()), outcome)
    assert pool.asked[0][1] == asker.arrived + 10


async def test_an_unexpected_error_is_never_shown(engine, pool):
    pool.fault = RuntimeError("/etc/secret")
    (error,) = await predict(engine, png())
    assert (type(error), "secret" in error.detail) == (errors.Internal, False)


async def test_an_unexpected_error_is_logged_with_its_cause_and_the_request_id(engine, pool):
    pool.fault = RuntimeError("out of luck")
    with capture_logs() as lines:
        await predict(engine, png())
    assert [line["exc_info"] for line in lines if line.get("request_id") == "id-1" and "exc_info" in line] == [
        pool.fault
    ]


async def test_an_image_that_fails_unforeseen_is_not_in_flight_any_more(engine, pool):
    pool.fault = RuntimeError("out of luck")
    await predict(engine, png())
    assert engine.admission.in_flight == 0


@pytest.mark.parametrize("fault", [MemoryError(), AttributeError("a decoder's bug")], ids=["memory", "decoder"])
async def test_an_image_that_breaks_the_decoder_leaves_the_other_images_their_answers(engine, monkeypatch, fault):
    decode, broken = images.decode, png(7)

    def break_on_one(data, *arguments, **options):
        if data == broken:
            raise fault
        return decode(data, *arguments, **options)

    monkeypatch.setattr(images, "decode", break_on_one)
    first, error, last = await predict(engine, png(255), broken, png(0))
    assert type(error) is errors.Internal
    assert [answer.result.predictions[0].label for answer in (first, last)] == ["light", "dark"]


# ---------------------------------------------------------------------- deadlines of several images


async def test_images_that_are_ready_at_the_deadline_are_returned_with_errors_for_the_others(make, pool):
    pool.held = 1
    answers = await predict(make(request_timeout_s=0.5), png(), png())
    assert {type(answer) for answer in answers} == {Answer, errors.DeadlineExceeded}


async def test_the_job_of_an_image_that_is_late_is_abandoned(make, pool):
    pool.held = 1
    await predict(make(request_timeout_s=0.5), png(), png())
    assert pool.abandoned == 1


async def test_a_call_of_which_no_image_is_ready_at_the_deadline_fails_as_a_whole(make, pool):
    pool.held = 2
    assert type(await refusal(make(request_timeout_s=0.1), png(), png())) is errors.DeadlineExceeded


async def test_a_bad_image_is_reported_even_if_all_others_are_late(make, pool):
    pool.held = 1
    bad, late = await predict(make(request_timeout_s=0.5), b"no image", png())
    assert (type(bad), type(late)) == (errors.UnsupportedMedia, errors.DeadlineExceeded)


# ---------------------------------------------------------------------- threads


@pytest.fixture
def gate():
    """Block threads until it is set."""
    opened = threading.Event()
    yield opened
    opened.set()


async def test_a_finished_image_does_not_wait_for_images_that_are_being_decoded(make, pool, gate, monkeypatch):
    engine = make(decode_threads=1)
    pool.gate.clear()
    first = asyncio.create_task(predict(engine, png()))
    await until(lambda: pool.asked)
    decode = images.decode

    def block(*arguments, **options):
        assert gate.wait(10)
        return decode(*arguments, **options)

    monkeypatch.setattr(images, "decode", block)
    others = [asyncio.create_task(predict(engine, png())) for _ in range(4)]
    await until(engine.pipeline.decoding.free.locked)
    pool.gate.set()
    async with asyncio.timeout(10):
        (answer,) = await first
    assert answer.result.predictions[0].label == "light"
    gate.set()
    await asyncio.gather(*others)


async def test_the_wait_for_a_thread_that_decodes_is_a_stage(make, gate):
    engine = make(decode_threads=1)
    blocked = asyncio.create_task(engine.pipeline.decoding.run(gate.wait))
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
    blocked = asyncio.create_task(engine.pipeline.decoding.run(gate.wait))
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


ENDINGS = ("answered", "bad image", "late", "cancelled", "worker's error", "unforeseen error", "refused option")


@pytest.mark.parametrize("seed", range(8))
async def test_no_memory_is_reserved_after_any_mixture_of_calls(make, pool, seed):
    chance = random.Random(seed)
    engine = make(decode_threads=2, max_held_bytes=100_000, max_body_bytes=1024)
    pool.faults = {"worker's error": errors.Internal("the model failed"), "unforeseen error": RuntimeError("bug")}

    async def one(ending: str) -> None:
        await asyncio.sleep(chance.random() / 100)
        data = b"no image" if ending == "bad image" else wide_png(chance.choice((8, 30, 90)))
        timeout_s = 0.002 if ending == "late" else None
        with suppress(ServiceError), engine.call(caller(timeout_s)) as outcome:
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


# ---------------------------------------------------------------------- models and their settings


async def test_the_first_model_is_the_default(engine, pool):
    await predict(engine, png())
    assert pool.asked[0][0] == "first"


async def test_a_model_is_chosen_by_name(engine, pool):
    await predict(engine, png(), model="second")
    assert pool.asked[0][0] == "second"


@pytest.mark.parametrize(
    ("setting", "model", "label"),
    [
        ("model", "first", "dark"),
        ("model", "second", "light"),
        ("always", "second", "dark"),
        ("never", "first", "light"),
    ],
)
async def test_images_are_rotated_according_to_the_setting(make, setting, model, label):
    assert await best(make(exif=setting), upside_down(), model) == label


# ---------------------------------------------------------------------- keys


@pytest.mark.parametrize("key", ["one", "two"])
async def test_any_of_the_keys_is_accepted(make, key):
    make(api_keys=("one", "two")).authenticate(key)


@pytest.mark.parametrize("key", [None, "", "three", "on", "one ", "óne"])
async def test_another_key_is_rejected(make, key):
    with pytest.raises(errors.Unauthenticated):
        make(api_keys=("one", "two")).authenticate(key)


async def test_without_keys_every_call_is_accepted(make):
    make().authenticate(None)


# ---------------------------------------------------------------------- life


async def test_with_a_worker_it_is_ready(engine):
    assert engine.ready


async def test_without_a_worker_it_is_not_ready(engine, pool):
    pool.ready = 0
    assert not engine.ready


async def test_once_stopping_it_is_not_ready_but_serves(engine):
    engine.start_draining()
    assert (engine.ready, await best(engine, png())) == (False, "light")


async def test_a_change_in_the_pool_is_reported_as_readiness(engine, pool):
    told: list[bool] = []
    engine.on_ready_change.append(told.append)
    pool.ready = 0
    for notify in pool.on_change:
        notify()
    assert told == [False]


async def test_the_end_of_readiness_is_reported(engine):
    told: list[bool] = []
    engine.on_ready_change.append(told.append)
    engine.start_draining()
    assert told == [False]


# ---------------------------------------------------------------------- what is counted


@contextmanager
def difference(metric, **labels):
    """Return how much a metric grows during the block."""
    found = [counted(metric, **labels)]
    yield found
    found[0] = counted(metric, **labels) - found[0]


async def test_a_call_is_counted_once_however_many_images_it_has(engine):
    with difference(metrics.REQUESTS) as grown:
        await predict(engine, png(), png(), b"no image")
    assert grown == [1]


async def test_a_call_is_counted_by_model_protocol_and_code(engine):
    with difference(metrics.REQUESTS, model="second", protocol="http", code="ok") as grown:
        await predict(engine, png(), model="second")
    assert grown == [1]


async def test_a_refused_call_is_counted_with_its_code(engine):
    with difference(metrics.REQUESTS, model="", code="unknown_model") as grown:
        await refusal(engine, png(), model="third")
    assert grown == [1]


async def test_an_unknown_model_name_does_not_become_a_label(engine):
    await refusal(engine, png(), model="third")
    assert counted(metrics.REQUESTS, model="third") == 0


async def test_images_are_counted_by_their_own_codes(engine):
    codes = ("ok", "unsupported_media_type")
    before = [counted(metrics.IMAGES, model="first", protocol="http", code=code) for code in codes]
    await predict(engine, png(), png(), b"no image")
    after = [counted(metrics.IMAGES, model="first", protocol="http", code=code) for code in codes]
    assert [now - then for now, then in zip(after, before, strict=True)] == [2, 1]


@pytest.mark.parametrize("fault", [errors.Internal("the model failed"), errors.Unavailable("no worker")])
async def test_a_workers_error_is_counted_for_each_image_of_a_call_that_is_answered(engine, pool, fault):
    pool.fault = fault
    with difference(metrics.IMAGES, code=fault.code) as grown:
        await predict(engine, png(), png())
    assert grown == [2]


async def test_an_unforeseen_error_is_counted_as_internal(engine, pool):
    pool.fault = RuntimeError("out of luck")
    with difference(metrics.IMAGES, code="internal") as grown:
        await predict(engine, png(), png())
    assert grown == [2]


async def test_the_images_of_a_refused_call_are_counted_with_its_code(make):
    with difference(metrics.IMAGES, model="first", code="too_large") as grown:
        await refusal(make(max_images=2), *[png()] * 3)
    assert grown == [3]


async def test_an_image_that_is_late_is_counted_as_such(make, pool):
    pool.held = 1
    with difference(metrics.IMAGES, code="deadline_exceeded") as grown:
        await predict(make(request_timeout_s=0.5), png(), png())
    assert grown == [1]


async def test_a_call_whose_client_left_is_counted_as_cancelled(engine, pool):
    pool.gate.clear()
    with difference(metrics.REQUESTS, code="cancelled") as grown:
        call = asyncio.create_task(predict(engine, png()))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait({call})
    assert grown == [1]


async def test_a_calls_time_is_observed_once(engine):
    with difference(metrics.DURATION, model="first", protocol="http") as grown:
        await predict(engine, png(), png())
    assert grown == [1]


@pytest.mark.parametrize("stage", metrics.STAGES)
async def test_every_stage_is_observed_once_per_image(engine, stage):
    with difference(metrics.STAGE, model="first", stage=stage) as grown:
        await predict(engine, png(), png())
    assert grown == [2]


async def test_an_image_that_is_refused_is_counted_with_its_reason(engine):
    with difference(metrics.REFUSED, reason="unsupported_type") as grown:
        await predict(engine, png(), b"no image")
    assert grown == [1]


async def test_the_number_in_flight_returns_to_zero(engine):
    await predict(engine, png(), png())
    assert counted(metrics.IN_FLIGHT) == 0


@pytest.fixture
async def logged(engine):
    """Return the log of a call with a key."""
    with capture_logs() as lines:
        with engine.call(caller(key="secret")) as outcome:
            await engine.predict(Call("classify", (png(),), ClassifyOptions()), outcome)
        return lines


async def test_a_request_is_one_line_in_the_log(logged):
    (line,) = logged
    assert (line["event"], line["request_id"], line["code"], line["images"]) == ("request", "id-1", "ok", 1)


async def test_the_log_contains_neither_images_nor_keys(logged):
    assert not any("secret" in str(line) or "PNG" in str(line) for line in logged)
