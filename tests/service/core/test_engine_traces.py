"""One recorder: what a timing, the metrics and the spans of a call say is the same."""

import asyncio

import numpy as np
import pytest
from structlog.testing import capture_logs

from service import errors, logs, metric_series
from service.core.call import Call, Caller
from service.core.engine import Engine
from service.core.inputs import ImageTensor
from service.core.recorder import ImageRecorder
from service.settings import Settings
from service.tracing.context import CURRENT, TraceContext
from service.tracing.tracer import Tracer
from tests.service.core.engines import png, until
from tests.service.tracing.senders import context
from twins.tasks.classify import ClassifyOptions


class Kept:
    """An exporter that keeps what it gets."""

    def __init__(self) -> None:
        self.spans = []

    def put(self, spans) -> None:
        self.spans += spans

    def named(self, name: str) -> list:
        """Return the spans of this name."""
        return [span for span in self.spans if span.name == name]


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
async def engine(pool, kept):
    return Engine(Settings(max_images=3), pool, tracer=Tracer(kept))


async def predict(engine: Engine, *images, trace: TraceContext | None = None, model=None):
    """Return the answers of a call in a trace."""
    arrived = asyncio.get_running_loop().time()
    caller = Caller("id-1", "http", arrived, path="/classify", trace=trace or context(parent="b7ad6b7169203331"))
    with engine.call(caller, "infer") as outcome:
        return await engine.predict(Call("classify", images, ClassifyOptions(), model), outcome)


def observed(stage: str) -> float:
    """Return the sum of what a stage's histogram has observed."""
    (sum_,) = [
        sample.value
        for family in metric_series.STAGE.collect()
        for sample in family.samples
        if sample.name.endswith("_sum") and sample.labels == {"model": "first", "stage": stage}
    ]
    return sum_


@pytest.mark.parametrize("stage", metric_series.STAGES)
async def test_the_timing_the_metric_and_the_span_of_a_stage_are_equal(engine, kept, stage):
    await predict(engine, png())
    before = observed(stage)
    kept.spans.clear()
    (answer,) = await predict(engine, png())
    (span,) = kept.named(stage)
    assert getattr(answer.timing, stage) == span.took_s
    assert observed(stage) - before == pytest.approx(span.took_s, abs=1e-9)


def test_a_stage_in_several_parts_has_a_span_for_each_and_one_time():
    image = ImageRecorder(context())
    image.stage("decode_queue", 1.0, 0.25)
    image.stage("decode_queue", 2.0, 0.5)
    assert image.succeeded("first").decode_queue == 0.75
    assert [(span.began, span.took_s) for span in image.spans] == [(1.0, 0.25), (2.0, 0.5)]


async def test_the_span_of_a_call_lasts_as_long_as_its_metric(engine, kept):
    def total() -> float:
        samples = [s for family in metric_series.DURATION.collect() for s in family.samples]
        return sum(s.value for s in samples if s.name.endswith("_sum") and s.labels["model"] == "first")

    await predict(engine, png())
    before = total()
    kept.spans.clear()
    await predict(engine, png())
    (root,) = kept.named("classify")
    assert total() - before == pytest.approx(root.took_s, abs=1e-9)


async def test_each_image_of_a_call_has_a_span_with_its_own_stages(engine, kept):
    await predict(engine, png(), png(), png())
    images = kept.named("image")
    assert [span.attributes["twins.image"] for span in images] == [0, 1, 2]
    for stage in metric_series.STAGES:
        assert {span.context.parent_id for span in kept.named(stage)} == {span.context.span_id for span in images}


async def test_an_image_that_fails_marks_its_span_alone(engine, kept):
    await predict(engine, png(), b"no image")
    assert [span.error for span in kept.named("image")] == ["", "unsupported_media_type"]
    assert kept.named("classify")[0].error == ""


async def test_a_call_that_is_refused_has_one_span_with_the_error(engine, kept):
    with pytest.raises(errors.UnknownModel):
        await predict(engine, png(), model="third")
    assert [(span.name, span.error, span.kind) for span in kept.spans] == [("classify", "unknown_model", "server")]


async def test_a_call_whose_client_left_has_its_image_until_then(engine, pool, kept):
    pool.gate.clear()
    call = asyncio.create_task(predict(engine, png()))
    await until(lambda: pool.asked)
    call.cancel()
    await asyncio.wait({call})
    (root,), (image,) = kept.named("classify"), kept.named("image")
    assert root.error == image.error == "cancelled"
    assert image.began + image.took_s == pytest.approx(root.began + root.took_s, abs=1e-6)


async def test_admission_ends_before_the_images_begin(engine, kept):
    await predict(engine, png())
    (root,), (admit,), (image,) = kept.named("classify"), kept.named("admit"), kept.named("image")
    assert admit.began == root.began
    assert admit.began + admit.took_s <= image.began


async def test_a_call_that_is_not_sampled_has_no_spans_and_the_same_timing(engine, kept):
    (answer,) = await predict(engine, png(), trace=context(sampled=False))
    assert kept.spans == []
    assert answer.timing.infer == 0.4


async def test_the_span_of_the_image_is_current_while_it_waits_for_the_device(engine, pool, kept):
    seen = []
    submit = pool.submit

    async def noting(*args, **kwargs):
        seen.append(CURRENT.get())
        return await submit(*args, **kwargs)

    pool.submit = noting
    await predict(engine, png(), png())
    assert {each.span_id for each in seen} == {span.context.span_id for span in kept.named("image")}
    assert CURRENT.get() is None


async def test_a_request_without_a_route_has_no_span_as_its_path_is_the_clients(engine, kept):
    caller = Caller("id-1", "http", asyncio.get_running_loop().time(), path="/any/path", trace=context())
    with capture_logs():
        engine.refused(caller, "not_found")
    assert kept.spans == []


@pytest.mark.parametrize("images", [1, 2])
async def test_every_log_line_of_a_call_has_its_trace(engine, pool, images):
    trace, seen = context(), []
    pool.fault = RuntimeError("out of luck")

    def add(_, __, event):
        seen.append((event["event"], logs.trace_fields().get("trace_id")))
        return event

    with capture_logs(processors=[add]):
        await predict(engine, *[png()] * images, trace=trace)
    assert seen == [*[("unexpected error", trace.trace_id)] * images, ("request", trace.trace_id)]


async def test_pixels_that_are_decoded_already_have_the_same_stages(engine, kept):
    await predict(engine, ImageTensor(np.zeros((8, 8, 3), np.uint8)))
    assert {span.name for span in kept.spans} >= set(metric_series.STAGES)
