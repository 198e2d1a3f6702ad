"""What each model has done, over all processes, from the service's own metrics."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from service import metric_page, metrics
from service.metric_page import Value
from twins.card import split_key

NS = 1e9  # in a second
MS = 1e3
INPUT_STAGES, INFER, OUTPUT_STAGE, QUEUE = ("decode_queue", "decode", "preprocess"), "infer", "postprocess", "queue"


@dataclass(frozen=True)
class Duration:
    """A number of requests or images, and the time that they took together."""

    count: int
    seconds: float

    def form(self) -> dict[str, int]:
        """Return it as the protocol writes it."""
        return {"count": self.count, "ns": round(self.seconds * NS)}


@dataclass(frozen=True)
class ModelTotals:
    """The totals of one model since the start of the service."""

    name: str
    version: str
    succeeded: Duration  # requests
    failed: Duration
    queue: Duration  # images, as all below
    compute_input: Duration  # from the encoded image to the network's input
    compute_infer: Duration
    compute_output: Duration
    images: int
    batches: int
    last_request: float  # Unix time; 0 if there was none


def totals(keys: Iterable[str], values: Sequence[Value]) -> list[ModelTotals]:
    """Return the totals of models, which are given by their keys."""
    return [of_model(key, [value for value in values if value.labels.get("model") == key]) for key in keys]


def of_model(key: str, values: Sequence[Value]) -> ModelTotals:
    """Return the totals of one model, from its values."""

    def total(metric: str, matches: Callable[[Value], bool] = lambda _: True) -> float:
        return sum(value.value for value in values if value.name == metric and matches(value))

    def of_stage(*stages: str) -> Duration:
        count = total("twins_stage_duration_seconds_count", lambda value: value.labels["stage"] == stages[-1])
        seconds = total("twins_stage_duration_seconds_sum", lambda value: value.labels["stage"] in stages)
        return Duration(int(count), seconds)

    requests, ok = total("twins_requests_total"), total("twins_requests_total", answered)
    failed_s = total("twins_failed_request_seconds_total")
    return ModelTotals(
        *split_key(key),
        succeeded=Duration(int(ok), total("twins_request_duration_seconds_sum") - failed_s),
        failed=Duration(int(requests - ok), failed_s),
        queue=of_stage(QUEUE),
        compute_input=of_stage(*INPUT_STAGES),
        compute_infer=of_stage(INFER),
        compute_output=of_stage(OUTPUT_STAGE),
        images=int(total("twins_images_total", answered)),
        batches=int(total("twins_batch_size_count")),
        last_request=max((v.value for v in values if v.name == "twins_last_request_timestamp_seconds"), default=0.0),
    )


def answered(value: Value) -> bool:
    """Return whether a value counts what was answered without an error."""
    return value.labels["code"] == metrics.OK


def of_models(keys: Iterable[str]) -> dict[str, Any]:
    """Return the statistics of models as the protocol writes them."""
    return {"model_stats": [form(each) for each in totals(keys, metric_page.read())]}


def form(found: ModelTotals) -> dict[str, Any]:
    """Return the statistics of one model. There is no cache, and the times of single batch sizes are not known."""
    none = Duration(0, 0.0)
    durations = {
        "success": found.succeeded,
        "fail": found.failed,
        "queue": found.queue,
        "compute_input": found.compute_input,
        "compute_infer": found.compute_infer,
        "compute_output": found.compute_output,
        "cache_hit": none,
        "cache_miss": none,
    }
    return {
        "name": found.name,
        "version": found.version,
        "last_inference": round(found.last_request * MS),
        "inference_count": found.images,
        "execution_count": found.batches,
        "inference_stats": {name: duration.form() for name, duration in durations.items()},
        "batch_stats": [],
        "memory_usage": [],
    }
