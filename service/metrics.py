"""All metrics and the functions that record them. This is the only module that imports prometheus_client.

All processes write to one folder of memory-mapped files. The supervisor sets it as `PROMETHEUS_MULTIPROC_DIR` before
any process imports this module. The `/metrics` endpoint of any frontend therefore covers all processes.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    values,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from service.metric_files import MetricFiles
from service.settings import METRICS_FOLDER, variable

LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)  # seconds
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
STAGES = ("decode_queue", "decode", "preprocess", "queue", "infer", "postprocess")

CONTENT_TYPE = CONTENT_TYPE_LATEST

FILES = MetricFiles(Path(folder)) if (folder := variable(METRICS_FOLDER)) else None
if FILES:  # before the first metric is made
    values.ValueClass = values.MultiProcessValue(lambda: FILES.generation)  # type: ignore[no-untyped-call]

Metric = TypeVar("Metric", Counter, Gauge, Histogram)

OK = "ok"  # the code of a request without an error

REQUESTS = Counter(
    "twins_requests", "Number of requests that were answered or rejected.", ["model", "protocol", "code"]
)
IMAGES = Counter("twins_images", "Number of images that were answered or rejected.", ["model", "protocol", "code"])
DURATION = Histogram(
    "twins_request_duration_seconds",
    "Time from the headers of a request to its answer.",
    ["model", "protocol"],
    buckets=LATENCY,
)
STAGE = Histogram(
    "twins_stage_duration_seconds", "Time that an image spends in a stage.", ["model", "stage"], buckets=LATENCY
)
FAILED = Counter("twins_failed_request_seconds", "Time that requests took which failed.", ["model", "protocol"])
LAST_REQUEST = Gauge(
    "twins_last_request_timestamp_seconds",
    "Unix time of the last request that was answered.",
    ["model"],
    multiprocess_mode="max",
)
BATCH = Histogram("twins_batch_size", "Number of images in a batch.", ["model"], buckets=BATCHES)
QUEUE = Gauge(
    "twins_queue_depth",
    "Number of images that wait for the device.",
    ["worker", "model"],
    multiprocess_mode="livemostrecent",
)
IN_FLIGHT = Gauge(
    "twins_in_flight_images", "Number of images that are admitted and not answered yet.", multiprocess_mode="livesum"
)
IN_FLIGHT_LIMIT = Gauge(
    "twins_in_flight_limit_images",
    "Number of images that may be in flight before requests are rejected.",
    multiprocess_mode="livesum",
)
WORKER_UP = Gauge(
    "twins_worker_up", "Whether a worker is ready: 1 or 0.", ["worker"], multiprocess_mode="livemostrecent"
)
WORKERS_EXPECTED = Gauge(
    "twins_workers_expected", "Number of workers that should be ready.", multiprocess_mode="livemostrecent"
)
RESTARTS = Counter("twins_process_restarts", "Number of times that a process was restarted.", ["process", "reason"])
BUSY = Counter("twins_worker_busy_seconds", "Time for which the device of a worker ran batches.", ["worker"])
DRAIN_DEADLINE = Gauge(
    "twins_drain_deadline_timestamp_seconds",
    "Unix time by which the running shutdown must finish; 0 when none is running.",
    multiprocess_mode="livemostrecent",
)
REFUSED = Counter("twins_images_refused", "Number of images that were rejected.", ["reason"])
LOG_LINES_DROPPED = Counter(
    "twins_log_lines_dropped",
    "Number of log lines that were dropped because standard error was not read fast enough.",
    ["process"],
)
RETRIES = Counter(
    "twins_retries", "Number of images that were sent again because the worker that held them died.", ["model"]
)
LOAD = Gauge(
    "twins_model_load_seconds",
    "Time to load and warm up a model.",
    ["model", "worker"],
    multiprocess_mode="livemostrecent",
)
MEMORY = Gauge(
    "twins_process_resident_memory_bytes",
    "Resident memory of a process.",
    ["process"],
    multiprocess_mode="livemostrecent",
)
DEVICE_MEMORY = Gauge(
    "twins_device_memory_bytes",
    "Device memory that PyTorch holds for a worker.",
    ["worker", "kind"],
    multiprocess_mode="livemostrecent",
)
GPU_INFO = Gauge(
    "twins_gpu_info",
    "Always 1; the labels identify the GPU.",
    ["gpu", "uuid", "name"],
    multiprocess_mode="livemax",
)
GPU_UTILIZATION = Gauge(
    "twins_gpu_utilization_ratio",
    "Fraction of time in which a kernel ran on a GPU.",
    ["gpu"],
    multiprocess_mode="livemostrecent",
)
GPU_MEMORY_USED = Gauge(
    "twins_gpu_memory_used_bytes", "GPU memory in use by all programs.", ["gpu"], multiprocess_mode="livemostrecent"
)
GPU_MEMORY_TOTAL = Gauge(
    "twins_gpu_memory_total_bytes", "Total memory of a GPU.", ["gpu"], multiprocess_mode="livemostrecent"
)
GPU_POWER = Gauge("twins_gpu_power_watts", "Power draw of a GPU.", ["gpu"], multiprocess_mode="livemostrecent")
GPU_POWER_LIMIT = Gauge(
    "twins_gpu_power_limit_watts", "Power limit of a GPU.", ["gpu"], multiprocess_mode="livemostrecent"
)
GPU_TEMPERATURE = Gauge(
    "twins_gpu_temperature_celsius", "Temperature of a GPU.", ["gpu"], multiprocess_mode="livemostrecent"
)
GPU_THROTTLED = Gauge(
    "twins_gpu_throttled",
    "Whether the clocks of a GPU are reduced for this reason: 1 or 0.",
    ["gpu", "reason"],
    multiprocess_mode="livemostrecent",
)
BUILD = Gauge(
    "twins_build_info", "Always 1; the label is the version of the service.", ["version"], multiprocess_mode="livemax"
)


@cache  # finding a series costs more than counting in it; there are as many as in /metrics
def series(metric: Metric, *labels: str) -> Metric:
    """Return the series of a metric with these labels."""
    return metric.labels(*labels)


def request(model: str, protocol: str, code: str, duration_s: float) -> None:
    """Record a finished request. `model` is empty if the request names no model that is served."""
    series(REQUESTS, model, protocol, code).inc()
    series(DURATION, model, protocol).observe(duration_s)
    if code != OK:
        series(FAILED, model, protocol).inc(duration_s)
    elif model:
        series(LAST_REQUEST, model).set(time.time())


def images(model: str, protocol: str, code: str, count: int) -> None:
    """Record that so many images of a request have got an answer or an error."""
    if count:
        series(IMAGES, model, protocol, code).inc(count)


def stage(model: str, name: str, duration_s: float) -> None:
    """Record that an image has passed a stage."""
    series(STAGE, model, name).observe(duration_s)


def batch(model: str, size: int) -> None:
    """Record the size of a batch that has run."""
    BATCH.labels(model).observe(size)


def queue_depth(worker: str, waiting: Mapping[str, int]) -> None:
    """Set the number of images that wait in a worker, by model."""
    for model, count in waiting.items():
        series(QUEUE, worker, model).set(count)


def in_flight(images: int) -> None:
    """Set the number of images in flight in this frontend."""
    IN_FLIGHT.set(images)


def in_flight_limit(images: int) -> None:
    """Set the number of images that may be in flight in this frontend."""
    IN_FLIGHT_LIMIT.set(images)


def worker_up(worker: str, *, up: bool) -> None:
    """Record that a worker has become ready, or is gone."""
    WORKER_UP.labels(worker).set(up)


def workers_expected(workers: int) -> None:
    """Set the number of workers that should be ready."""
    WORKERS_EXPECTED.set(workers)


def worker_busy(worker: str, duration_s: float) -> None:
    """Add the time for which the device of a worker ran a batch."""
    BUSY.labels(worker).inc(duration_s)


def drain_until(unix_time_s: float) -> None:
    """Set the time by which the running shutdown must finish."""
    DRAIN_DEADLINE.set(unix_time_s)


def restarted(process: str, reason: str) -> None:
    """Count the restart of a process."""
    RESTARTS.labels(process, reason).inc()


def log_line_dropped(process: str) -> None:
    """Count a log line that was dropped."""
    LOG_LINES_DROPPED.labels(process).inc()


def image_refused(reason: str) -> None:
    """Count an image that was rejected."""
    REFUSED.labels(reason).inc()


def retried(model: str) -> None:
    """Count a sample that is sent to a worker again."""
    RETRIES.labels(model).inc()


def model_loaded(model: str, worker: str, duration_s: float) -> None:
    """Record how long it took to load and warm up a model."""
    LOAD.labels(model, worker).set(duration_s)


def device_memory(worker: str, kind: str, size_bytes: int) -> None:
    """Set the device memory of one kind: `allocated` to tensors or `reserved` by the process."""
    DEVICE_MEMORY.labels(worker, kind).set(size_bytes)


GPU_READINGS = {
    "utilization": GPU_UTILIZATION,
    "memory_used": GPU_MEMORY_USED,
    "memory_total": GPU_MEMORY_TOTAL,
    "power": GPU_POWER,
    "power_limit": GPU_POWER_LIMIT,
    "temperature": GPU_TEMPERATURE,
}


def gpu_found(gpu: str, uuid: str, name: str) -> None:
    """Record that the machine has this GPU."""
    GPU_INFO.labels(gpu, uuid, name).set(1)


def gpu_reading(gpu: str, reading: str, value: float) -> None:
    """Set one of `GPU_READINGS`, in the unit of its gauge. NaN means that the GPU no longer answers."""
    GPU_READINGS[reading].labels(gpu).set(value)


def gpu_throttled(gpu: str, reason: str, value: float) -> None:
    """Set whether the clocks of a GPU are reduced for this reason (1) or not (0)."""
    GPU_THROTTLED.labels(gpu, reason).set(value)


def process_memory(process: str) -> None:
    """Set the resident memory of this process."""
    try:
        status = Path("/proc/self/status").read_text("ascii")
    except OSError:  # not on Linux
        return
    if found := re.search(r"VmRSS:\s+(\d+) kB", status):
        MEMORY.labels(process).set(int(found[1]) * 1024)


def version(text: str) -> None:
    """Set the version of the service."""
    BUILD.labels(text).set(1)


def restore_files() -> None:
    """Write the files of this process again if they have been deleted."""
    if FILES:
        FILES.restore()


def process_gone(pid: int) -> None:
    """Remove the gauges of a dead process. Its counters stay."""
    mark_process_dead(pid)  # type: ignore[no-untyped-call]


def render() -> bytes:
    """Return the metrics of all processes in the Prometheus text format."""
    return generate_latest(of_all_processes())


def of_all_processes() -> CollectorRegistry:
    """Return the registry that reads the files of all processes."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry


@dataclass(frozen=True)
class Value:
    """The value of one series."""

    name: str  # with its suffix, such as `twins_requests_total`
    labels: Mapping[str, str]
    value: float


def read() -> list[Value]:
    """Return the values of all processes."""
    return [
        Value(sample.name, sample.labels, sample.value)
        for family in of_all_processes().collect()
        for sample in family.samples
    ]
