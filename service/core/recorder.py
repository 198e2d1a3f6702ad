"""Records the times of a call once. Its timings, metrics and spans are made from the same figures.

Times are those of the machine's monotonic clock, so that those of all processes can be compared.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from service import metric_series, metrics
from service.tracing.context import CURRENT, TraceContext, parse
from service.tracing.span import Span, Value


@dataclass(frozen=True)
class Timing:
    """The time that an image spent in each stage, in seconds."""

    decode_queue: float  # waiting for a thread that decodes
    decode: float
    preprocess: float
    queue: float
    infer: float
    postprocess: float


class ImageRecorder:
    """Records the stages of one image. They become its timing and the metrics, and spans if the call is traced."""

    __slots__ = ("began", "code", "durations", "ended", "number", "spans", "trace")

    def __init__(self, trace: TraceContext | None = None, number: int = 0) -> None:
        """`trace` is the span of the image if it is recorded, `number` the place of the image in its call."""
        self.trace, self.number = trace, number
        self.durations = dict.fromkeys(metric_series.STAGES, 0.0)
        self.spans: list[Span] = []
        self.began, self.ended = time.monotonic(), 0.0  # 0 until it has ended
        self.code = ""

    def stage(self, name: str, began: float, took_s: float, batch: str = "") -> None:
        """Record a stage, or one of several parts of it. `batch` is the span of the batch, as `traceparent` has it."""
        self.durations[name] += took_s
        if self.trace is not None:
            self.part(name, began, took_s, batch)

    def part(self, name: str, began: float, took_s: float, batch: str = "", **attributes: Value) -> None:
        """Record what happened within a stage, which neither the timing nor the metrics have."""
        if self.trace is not None:
            linked = parse(batch)
            links = (linked,) if linked else ()
            self.spans.append(Span(name, self.trace.child(), began, took_s, attributes, links))

    def succeeded(self, model: str) -> Timing:
        """Count the stages of an image that is answered, and return its timing."""
        self.ended = time.monotonic()
        trace_id = self.trace.trace_id if self.trace is not None else ""
        for name, took_s in self.durations.items():
            metrics.stage(model, name, took_s, trace_id)
        return Timing(**self.durations)

    def failed(self, code: str) -> None:
        """Note the error of an image."""
        self.code, self.ended = code, time.monotonic()

    def all_spans(self, call_ended: float, call_error: str) -> Iterator[Span]:
        """Yield the spans of an image that is traced. One that was cancelled ends with its call."""
        assert self.trace is not None
        ended, error = (self.ended, self.code) if self.ended else (call_ended, call_error)
        yield Span("image", self.trace, self.began, ended - self.began, {"twins.image": self.number}, (), error)
        yield from self.spans


class CallRecorder:
    """Records one call and its images. What is measured here becomes metrics and, if the call is traced, spans."""

    __slots__ = ("answered", "arrived", "images", "since", "steps", "trace")

    def __init__(self, trace: TraceContext | None, arrived: float) -> None:
        """`trace` is the span of the call, if it has one."""
        self.trace = trace if trace is not None and trace.sampled else None
        self.arrived = self.since = arrived  # since: the end of the last step of the call itself
        self.images: list[ImageRecorder] = []  # of a call that is traced
        self.steps: list[Span] = []
        self.answered = False

    def image(self, number: int) -> ImageRecorder:
        """Return the recorder of an image, whose span becomes the current one of this task."""
        if self.trace is None:
            return ImageRecorder()
        image = ImageRecorder(self.trace.child(), number)
        self.images.append(image)
        CURRENT.set(image.trace)
        return image

    def step(self, name: str) -> None:
        """Record a step of the call itself, which lasted from the end of the one before until now."""
        if self.trace is not None:
            began, self.since = self.since, time.monotonic()
            self.steps.append(Span(name, self.trace.child(), began, self.since - began))

    def images_answered(self) -> None:
        """Note that the images have their answers, so that the next step begins now."""
        if self.trace is not None:
            self.answered, self.since = True, time.monotonic()

    def ended(self, model: str, protocol: str, code: str, duration_s: float) -> None:
        """Count the call."""
        if self.trace is not None:
            CURRENT.set(self.trace)  # again, instead of the span of its only image
        if self.answered:
            self.step("respond")
        metrics.request(model, protocol, code, duration_s, self.trace.trace_id if self.trace is not None else "")

    def spans(self, name: str, duration_s: float, code: str, attributes: Mapping[str, Value]) -> Iterator[Span]:
        """Yield the spans of a call that has ended, if it is traced. `code` is ok or that of its error."""
        if self.trace is None:
            return
        error = "" if code == metrics.OK else code
        yield Span(name, self.trace, self.arrived, duration_s, attributes, (), error, "server")
        yield from self.steps
        for image in self.images:
            yield from image.all_spans(self.arrived + duration_s, error)
