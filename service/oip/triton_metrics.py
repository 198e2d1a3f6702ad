"""The service's metrics in the names of Triton Inference Server, for its dashboards and autoscalers.

The text is written here, because prometheus_client ends the names of all counters in `_total`, and Triton's do not.
Source: Triton's documentation of its metrics.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from service.metric_page import Value
from service.oip.statistics import ModelTotals, totals
from twins.card import split_key

US = 1e6  # in a second
REASONS: Mapping[str, str] = {
    **dict.fromkeys(("overloaded", "refused", "unavailable", "deadline_exceeded"), "REJECTED"),
    "cancelled": "CANCELED",
    "internal": "BACKEND",
}
"""Triton's reason for each code of a failed request; any other is OTHER."""
OTHER = "OTHER"


@dataclass(frozen=True)
class ModelMetric:
    """A metric of each model."""

    name: str
    kind: str
    help: str
    value: Callable[[ModelTotals], float]


MODEL_METRICS = (
    ModelMetric("nv_inference_request_success", "counter", "Requests that were answered", lambda m: m.succeeded.count),
    ModelMetric("nv_inference_count", "counter", "Images that were answered", lambda m: m.images),
    ModelMetric("nv_inference_exec_count", "counter", "Batches that were run", lambda m: m.batches),
    ModelMetric(
        "nv_inference_request_duration_us",
        "counter",
        "Microseconds of all requests that were answered",
        lambda m: round(m.succeeded.seconds * US),
    ),
    ModelMetric(
        "nv_inference_queue_duration_us",
        "counter",
        "Microseconds that images waited for the device",
        lambda m: round(m.queue.seconds * US),
    ),
    ModelMetric(
        "nv_inference_compute_input_duration_us",
        "counter",
        "Microseconds of decoding and preprocessing",
        lambda m: round(m.compute_input.seconds * US),
    ),
    ModelMetric(
        "nv_inference_compute_infer_duration_us",
        "counter",
        "Microseconds that images spent in the network",
        lambda m: round(m.compute_infer.seconds * US),
    ),
    ModelMetric(
        "nv_inference_compute_output_duration_us",
        "counter",
        "Microseconds of making and encoding results",
        lambda m: round(m.compute_output.seconds * US),
    ),
)

GPU_METRICS: Mapping[str, tuple[str, str]] = {
    "nv_gpu_utilization": ("twins_gpu_utilization_ratio", "Fraction of time in which a kernel ran"),
    "nv_gpu_memory_total_bytes": ("twins_gpu_memory_total_bytes", "Total memory of the GPU"),
    "nv_gpu_memory_used_bytes": ("twins_gpu_memory_used_bytes", "Memory of the GPU in use"),
    "nv_gpu_power_usage": ("twins_gpu_power_watts", "Power draw of the GPU in watts"),
    "nv_gpu_power_limit": ("twins_gpu_power_limit_watts", "Power limit of the GPU in watts"),
}
"""Our gauge for each of Triton's, and the help."""


def render(values: Sequence[Value], *, openmetrics: bool = False) -> str:
    """Return the metrics in the Prometheus text format.

    In OpenMetrics they have no type, since the names of its counters must end in `_total`.
    """
    names = sorted({value.labels["model"] for value in values if value.labels.get("model")})
    models = totals(names, values)
    text = "".join((*of_models(models), *failures(names, values), *pending(names, values), *of_gpus(values)))
    return re.sub("^(# TYPE .*) counter$", r"\1 unknown", text, flags=re.MULTILINE) if openmetrics else text


def of_models(models: Sequence[ModelTotals]) -> Iterator[str]:
    """Yield the metrics that models have once."""
    for metric in MODEL_METRICS:
        yield head(metric.name, metric.kind, metric.help)
        for model in models:
            yield line(metric.name, {"model": model.name, "version": model.version}, metric.value(model))


def failures(names: Sequence[str], values: Sequence[Value]) -> Iterator[str]:
    """Yield the failed requests of models by reason."""
    yield head("nv_inference_request_failure", "counter", "Requests that failed")
    for model in names:
        counts = dict.fromkeys((*dict.fromkeys(REASONS.values()), OTHER), 0.0)
        for value in values:
            if value.name == "twins_requests_total" and value.labels["model"] == model and value.labels["code"] != "ok":
                counts[REASONS.get(value.labels["code"], OTHER)] += value.value
        for reason, count in counts.items():
            yield line("nv_inference_request_failure", {**labels(model), "reason": reason}, count)


def pending(names: Sequence[str], values: Sequence[Value]) -> Iterator[str]:
    """Yield how many images of each model wait for a device."""
    yield head("nv_inference_pending_request_count", "gauge", "Images that wait for the device")
    for model in names:
        count = sum(v.value for v in values if v.name == "twins_queue_depth" and v.labels["model"] == model)
        yield line("nv_inference_pending_request_count", labels(model), count)


def labels(key: str) -> dict[str, str]:
    """Return the labels of a model."""
    name, version = split_key(key)
    return {"model": name, "version": version}


def of_gpus(values: Sequence[Value]) -> Iterator[str]:
    """Yield the readings of GPUs, by their unique ids."""
    ids = {value.labels["gpu"]: value.labels["uuid"] for value in values if value.name == "twins_gpu_info"}
    for name, (own, description) in GPU_METRICS.items() if ids else ():
        yield head(name, "gauge", description)
        for value in values:
            if value.name == own:
                yield line(name, {"gpu_uuid": ids[value.labels["gpu"]]}, value.value)


def head(name: str, kind: str, description: str) -> str:
    """Return the lines before the values of a metric."""
    return f"# HELP {name} {description}\n# TYPE {name} {kind}\n"


def line(name: str, labelled: Mapping[str, str], value: float) -> str:
    """Return the line of one value. The names of models and the ids of GPUs need no escapes."""
    written = ",".join(f'{label}="{text}"' for label, text in labelled.items())
    return f"{name}{{{written}}} {value:.15g}\n"
