"""Tests what the engine counts and logs."""

import asyncio
from contextlib import contextmanager

import pytest
from structlog.testing import capture_logs

from service import errors, metric_series
from service.core.call import Call
from tests.service.core.engines import caller, png, predict, refusal
from tests.service.counting import counted
from twins.tasks.classify import ClassifyOptions

# ---------------------------------------------------------------------- what is counted


@contextmanager
def difference(metric, **labels):
    """Return how much a metric grows during the block."""
    found = [counted(metric, **labels)]
    yield found
    found[0] = counted(metric, **labels) - found[0]


async def test_a_call_is_counted_once_however_many_images_it_has(engine):
    with difference(metric_series.REQUESTS) as grown:
        await predict(engine, png(), png(), b"no image")
    assert grown == [1]


async def test_a_call_is_counted_by_model_protocol_and_code(engine):
    with difference(metric_series.REQUESTS, model="second", protocol="http", code="ok") as grown:
        await predict(engine, png(), model="second")
    assert grown == [1]


async def test_a_refused_call_is_counted_with_its_code(engine):
    with difference(metric_series.REQUESTS, model="", code="unknown_model") as grown:
        await refusal(engine, png(), model="third")
    assert grown == [1]


async def test_an_unknown_model_name_does_not_become_a_label(engine):
    await refusal(engine, png(), model="third")
    assert counted(metric_series.REQUESTS, model="third") == 0


async def test_images_are_counted_by_their_own_codes(engine):
    codes = ("ok", "unsupported_media_type")
    before = [counted(metric_series.IMAGES, model="first", protocol="http", code=code) for code in codes]
    await predict(engine, png(), png(), b"no image")
    after = [counted(metric_series.IMAGES, model="first", protocol="http", code=code) for code in codes]
    assert [now - then for now, then in zip(after, before, strict=True)] == [2, 1]


@pytest.mark.parametrize("fault", [errors.Internal("the model failed"), errors.Unavailable("no worker")])
async def test_a_workers_error_is_counted_for_each_image_of_a_call_that_is_answered(engine, pool, fault):
    pool.fault = fault
    with difference(metric_series.IMAGES, code=fault.code) as grown:
        await predict(engine, png(), png())
    assert grown == [2]


async def test_an_unforeseen_error_is_counted_as_internal(engine, pool):
    pool.fault = RuntimeError("out of luck")
    with difference(metric_series.IMAGES, code="internal") as grown:
        await predict(engine, png(), png())
    assert grown == [2]


async def test_the_images_of_a_refused_call_are_counted_with_its_code(make):
    with difference(metric_series.IMAGES, model="first", code="too_large") as grown:
        await refusal(make(max_images=2), *[png()] * 3)
    assert grown == [3]


async def test_an_image_that_is_late_is_counted_as_such(make, pool):
    pool.held = 1
    with difference(metric_series.IMAGES, code="deadline_exceeded") as grown:
        await predict(make(request_timeout_s=0.5), png(), png())
    assert grown == [1]


async def test_a_call_whose_client_left_is_counted_as_cancelled(engine, pool):
    pool.gate.clear()
    with difference(metric_series.REQUESTS, code="cancelled") as grown:
        call = asyncio.create_task(predict(engine, png()))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait({call})
    assert grown == [1]


async def test_a_calls_time_is_observed_once(engine):
    with difference(metric_series.DURATION, model="first", protocol="http") as grown:
        await predict(engine, png(), png())
    assert grown == [1]


@pytest.mark.parametrize("stage", metric_series.STAGES)
async def test_every_stage_is_observed_once_per_image(engine, stage):
    with difference(metric_series.STAGE, model="first", stage=stage) as grown:
        await predict(engine, png(), png())
    assert grown == [2]


async def test_an_image_that_is_refused_is_counted_with_its_reason(engine):
    with difference(metric_series.REFUSED, reason="unsupported_type") as grown:
        await predict(engine, png(), b"no image")
    assert grown == [1]


async def test_the_number_in_flight_returns_to_zero(engine):
    await predict(engine, png(), png())
    assert counted(metric_series.IN_FLIGHT) == 0


@pytest.fixture
async def logged(engine):
    """Return the log of a call with a key."""
    with capture_logs() as lines:
        with engine.call(caller(key="secret"), "infer") as outcome:
            await engine.predict(Call("classify", (png(),), ClassifyOptions()), outcome)
        return lines


async def test_a_request_is_one_line_in_the_log(logged):
    (line,) = logged
    assert (line["event"], line["request_id"], line["code"], line["images"]) == ("request", "id-1", "ok", 1)


async def test_the_log_contains_neither_images_nor_keys(logged):
    assert not any("secret" in str(line) or "PNG" in str(line) for line in logged)
