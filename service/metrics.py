"""Every metric, and the functions that record them. The only module that knows Prometheus.

All processes write into one folder of memory-mapped files (`PROMETHEUS_MULTIPROC_DIR`, set by the supervisor before
this module is imported anywhere), so any frontend's `/metrics` tells of all of them.
"""

import re
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)  # seconds
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
STAGES = ("decode", "preprocess", "queue", "infer", "postprocess")

CONTENT_TYPE = CONTENT_TYPE_LATEST

REQUESTS = Counter("twins_requests", "Requests answered or refused.", ["model", "protocol", "code"])
DURATION = Histogram(
    "twins_request_duration_seconds",
    "Time from a request's headers to its answer.",
    ["model", "protocol"],
    buckets=LATENCY,
)
STAGE = Histogram(
    "twins_stage_duration_seconds", "Time an image spends in a stage.", ["model", "stage"], buckets=LATENCY
)
BATCH = Histogram("twins_batch_size", "Images run together.", ["model"], buckets=BATCHES)
QUEUE = Gauge("twins_queue_depth", "Images that wait for the device.", ["worker"], multiprocess_mode="livemostrecent")
IN_FLIGHT = Gauge("twins_in_flight_images", "Images admitted and not answered yet.", multiprocess_mode="livesum")
WORKER_UP = Gauge("twins_worker_up", "Whether a worker is ready.", ["worker"], multiprocess_mode="livemostrecent")
RESTARTS = Counter("twins_process_restarts", "Times a process was started again.", ["process", "reason"])
REFUSED = Counter("twins_images_refused", "Images that could not be used.", ["reason"])
RETRIES = Counter("twins_retries", "Images sent to a worker again because the first one died.", ["model"])
LOAD = Gauge(
    "twins_model_load_seconds", "Time to load and warm up.", ["model", "worker"], multiprocess_mode="livemostrecent"
)
MEMORY = Gauge(
    "twins_process_resident_memory_bytes", "Memory of a process.", ["process"], multiprocess_mode="livemostrecent"
)
DEVICE_MEMORY = Gauge(
    "twins_device_memory_bytes", "Memory of a device in use.", ["worker", "kind"], multiprocess_mode="livemostrecent"
)
BUILD = Gauge("twins_build_info", "Always 1; the version is in the label.", ["version"], multiprocess_mode="livemax")


def request(model: str, protocol: str, code: str, duration_s: float) -> None:
    """One request is over; `model` is empty where the request named none that exists."""
    REQUESTS.labels(model, protocol, code).inc()
    DURATION.labels(model, protocol).observe(duration_s)


def stage(model: str, name: str, duration_s: float) -> None:
    """One image has passed a stage."""
    STAGE.labels(model, name).observe(duration_s)


def batch(model: str, size: int) -> None:
    """One batch has run."""
    BATCH.labels(model).observe(size)


def queue_depth(worker: str, depth: int) -> None:
    """So many images wait in a worker."""
    QUEUE.labels(worker).set(depth)


def in_flight(images: int) -> None:
    """So many images are in work in this frontend."""
    IN_FLIGHT.set(images)


def worker_up(worker: str, *, up: bool) -> None:
    """A worker became ready, or is gone."""
    WORKER_UP.labels(worker).set(up)


def restarted(process: str, reason: str) -> None:
    """A process is started again."""
    RESTARTS.labels(process, reason).inc()


def image_refused(reason: str) -> None:
    """A picture could not be used."""
    REFUSED.labels(reason).inc()


def retried(model: str) -> None:
    """A sample goes to another worker."""
    RETRIES.labels(model).inc()


def model_loaded(model: str, worker: str, duration_s: float) -> None:
    """A model is ready to run."""
    LOAD.labels(model, worker).set(duration_s)


def device_memory(worker: str, kind: str, size_bytes: int) -> None:
    """Of the device's memory, this is `allocated` to tensors or `reserved` by the process."""
    DEVICE_MEMORY.labels(worker, kind).set(size_bytes)


def process_memory(process: str) -> None:
    """Measures this process."""
    try:
        status = Path("/proc/self/status").read_text("ascii")
    except OSError:  # not on Linux
        return
    if found := re.search(r"VmRSS:\s+(\d+) kB", status):
        MEMORY.labels(process).set(int(found[1]) * 1024)


def version(text: str) -> None:
    """Says which version runs."""
    BUILD.labels(text).set(1)


def process_gone(pid: int) -> None:
    """Forgets the gauges of a dead process; its counters stay."""
    mark_process_dead(pid)  # type: ignore[no-untyped-call]


def render() -> bytes:
    """All processes' metrics in Prometheus' text form."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
