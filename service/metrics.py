"""The functions that record metrics. `service.metric_page` reads them.

All processes write to one folder of memory-mapped files. The supervisor sets it as `PROMETHEUS_MULTIPROC_DIR` before
any process imports this module. The `/metrics` endpoint of any frontend therefore covers all processes.
"""

import re
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TypeVar

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.multiprocess import mark_process_dead

from service import metric_series, metric_storage

Metric = TypeVar("Metric", Counter, Gauge, Histogram)

OK = "ok"  # the code of a request without an error
TRACE_ID = "trace_id"  # the label of an exemplar, as Grafana expects it


@cache  # finding a series costs more than counting in it; there are as many as in /metrics
def series(metric: Metric, *labels: str) -> Metric:
    """Return the series of a metric with these labels."""
    return metric.labels(*labels)


def request(model: str, protocol: str, code: str, duration_s: float, trace_id: str = "") -> None:
    """Record a finished request. `model` is empty if the request names no model that is served.

    A request of a trace that is recorded becomes the exemplar of its bucket.
    """
    series(metric_series.REQUESTS, model, protocol, code).inc()
    series(metric_series.DURATION, model, protocol).observe(duration_s, exemplar(trace_id))
    if code != OK:
        series(metric_series.FAILED, model, protocol).inc(duration_s)
    elif model:
        series(metric_series.LAST_REQUEST, model).set(time.time())


def images(model: str, protocol: str, code: str, count: int) -> None:
    """Record that so many images of a request have got an answer or an error."""
    if count:
        series(metric_series.IMAGES, model, protocol, code).inc(count)


def stage(model: str, name: str, duration_s: float, trace_id: str = "") -> None:
    """Record that an image has passed a stage. One of a trace that is recorded becomes the exemplar of its bucket."""
    series(metric_series.STAGE, model, name).observe(duration_s, exemplar(trace_id))


def exemplar(trace_id: str) -> dict[str, str] | None:
    """Return the labels of an exemplar, or None without a trace."""
    return {TRACE_ID: trace_id} if trace_id else None


def batch(model: str, size: int) -> None:
    """Record the size of a batch that has run."""
    metric_series.BATCH.labels(model).observe(size)


def queue_depth(worker: str, waiting: Mapping[str, int]) -> None:
    """Set the number of images that wait in a worker, by model."""
    for model, count in waiting.items():
        series(metric_series.QUEUE, worker, model).set(count)


def in_flight(images: int) -> None:
    """Set the number of images in flight in this frontend."""
    metric_series.IN_FLIGHT.set(images)


def in_flight_limit(images: int) -> None:
    """Set the number of images that may be in flight in this frontend."""
    metric_series.IN_FLIGHT_LIMIT.set(images)


def worker_up(worker: str, *, up: bool) -> None:
    """Record that a worker has become ready, or is gone."""
    metric_series.WORKER_UP.labels(worker).set(up)


def workers_expected(workers: int) -> None:
    """Set the number of workers that should be ready."""
    metric_series.WORKERS_EXPECTED.set(workers)


def worker_busy(worker: str, duration_s: float) -> None:
    """Add the time for which the device of a worker ran a batch."""
    metric_series.BUSY.labels(worker).inc(duration_s)


def drain_until(unix_time_s: float) -> None:
    """Set the time by which the running shutdown must finish."""
    metric_series.DRAIN_DEADLINE.set(unix_time_s)


def restarted(process: str, reason: str) -> None:
    """Count the restart of a process."""
    metric_series.RESTARTS.labels(process, reason).inc()


def log_line_dropped(process: str) -> None:
    """Count a log line that was dropped."""
    metric_series.LOG_LINES_DROPPED.labels(process).inc()


def spans_lost(process: str, count: int) -> None:
    """Count spans that were not sent."""
    metric_series.SPANS_LOST.labels(process).inc(count)


def image_refused(reason: str) -> None:
    """Count an image that was rejected."""
    metric_series.REFUSED.labels(reason).inc()


def decode_aborted(reason: str) -> None:
    """Count a large image whose decoding was aborted."""
    metric_series.DECODES_ABORTED.labels(reason).inc()


def open_calls(count: int) -> None:
    """Set the number of open gRPC calls of this frontend."""
    metric_series.OPEN_CALLS.set(count)


def open_connections(count: int) -> None:
    """Set the number of open HTTP connections of this frontend."""
    metric_series.OPEN_CONNECTIONS.set(count)


def connection_refused(protocol: str, reason: str) -> None:
    """Count a connection, or a gRPC call, that a limit refused or ended."""
    series(metric_series.CONNECTIONS_REFUSED, protocol, reason).inc()


def retried(model: str) -> None:
    """Count a sample that is sent to a worker again."""
    metric_series.RETRIES.labels(model).inc()


def model_loaded(model: str, worker: str, duration_s: float) -> None:
    """Record how long it took to load and warm up a model."""
    metric_series.LOAD.labels(model, worker).set(duration_s)


def device_memory(worker: str, kind: str, size_bytes: int) -> None:
    """Set the device memory of one kind: `allocated` to tensors or `reserved` by the process."""
    metric_series.DEVICE_MEMORY.labels(worker, kind).set(size_bytes)


GPU_READINGS = {
    "utilization": metric_series.GPU_UTILIZATION,
    "memory_used": metric_series.GPU_MEMORY_USED,
    "memory_total": metric_series.GPU_MEMORY_TOTAL,
    "power": metric_series.GPU_POWER,
    "power_limit": metric_series.GPU_POWER_LIMIT,
    "temperature": metric_series.GPU_TEMPERATURE,
}


def gpu_found(gpu: str, uuid: str, name: str) -> None:
    """Record that the machine has this GPU."""
    metric_series.GPU_INFO.labels(gpu, uuid, name).set(1)


def gpu_reading(gpu: str, reading: str, value: float) -> None:
    """Set one of `GPU_READINGS`, in the unit of its gauge. NaN means that the GPU no longer answers."""
    GPU_READINGS[reading].labels(gpu).set(value)


def gpu_throttled(gpu: str, reason: str, value: float) -> None:
    """Set whether the clocks of a GPU are reduced for this reason (1) or not (0)."""
    metric_series.GPU_THROTTLED.labels(gpu, reason).set(value)


def process_memory(process: str) -> None:
    """Set the resident memory of this process."""
    try:
        status = Path("/proc/self/status").read_text("ascii")
    except OSError:  # not on Linux
        return
    if found := re.search(r"VmRSS:\s+(\d+) kB", status):
        metric_series.MEMORY.labels(process).set(int(found[1]) * 1024)


def version(text: str) -> None:
    """Set the version of the service."""
    metric_series.BUILD.labels(text).set(1)


def restore_files() -> None:
    """Write the files of this process again if they have been deleted, or could not be written on a full disk."""
    if metric_series.FILES and metric_storage.return_to_files():
        metric_series.FILES.restore()


def write_exemplars() -> None:
    """Publish the exemplars of this process to the others. Raise OSError."""
    if metric_series.EXEMPLARS:
        metric_series.EXEMPLARS.write()


def process_gone(pid: int) -> None:
    """Remove the gauges and the exemplars of a dead process. Its counters stay."""
    mark_process_dead(pid)  # type: ignore[no-untyped-call]
    if metric_series.EXEMPLARS:
        metric_series.EXEMPLARS.remove(pid)
