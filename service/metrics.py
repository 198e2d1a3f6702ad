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
IN_FLIGHT_LIMIT = Gauge(
    "twins_in_flight_limit_images", "Images that may be in flight before more are refused.", multiprocess_mode="livesum"
)
WORKER_UP = Gauge("twins_worker_up", "Whether a worker is ready.", ["worker"], multiprocess_mode="livemostrecent")
RESTARTS = Counter("twins_process_restarts", "Times a process was started again.", ["process", "reason"])
BUSY = Counter("twins_worker_busy_seconds", "Time in which a worker's device ran a batch.", ["worker"])
DRAIN_DEADLINE = Gauge(
    "twins_drain_deadline_timestamp_seconds",
    "Unix time at which the end that was asked for must be over; 0 while nobody asked.",
    multiprocess_mode="livemostrecent",
)
REFUSED = Counter("twins_images_refused", "Images that could not be used.", ["reason"])
RETRIES = Counter("twins_retries", "Images sent to a worker again because the first one died.", ["model"])
LOAD = Gauge(
    "twins_model_load_seconds", "Time to load and warm up.", ["model", "worker"], multiprocess_mode="livemostrecent"
)
MEMORY = Gauge(
    "twins_process_resident_memory_bytes", "Memory of a process.", ["process"], multiprocess_mode="livemostrecent"
)
DEVICE_MEMORY = Gauge(
    "twins_device_memory_bytes",
    "Memory of a device that PyTorch holds for a worker.",
    ["worker", "kind"],
    multiprocess_mode="livemostrecent",
)
GPU_INFO = Gauge(
    "twins_gpu_info",
    "Always 1; what a GPU is called is in the labels.",
    ["gpu", "uuid", "name"],
    multiprocess_mode="livemax",
)
GPU_UTILIZATION = Gauge(
    "twins_gpu_utilization_ratio", "Share of time in which a kernel ran.", ["gpu"], multiprocess_mode="livemostrecent"
)
GPU_MEMORY_USED = Gauge(
    "twins_gpu_memory_used_bytes", "Memory of a GPU in use, by anybody.", ["gpu"], multiprocess_mode="livemostrecent"
)
GPU_MEMORY_TOTAL = Gauge(
    "twins_gpu_memory_total_bytes", "Memory of a GPU.", ["gpu"], multiprocess_mode="livemostrecent"
)
GPU_POWER = Gauge("twins_gpu_power_watts", "Power that a GPU draws.", ["gpu"], multiprocess_mode="livemostrecent")
GPU_POWER_LIMIT = Gauge(
    "twins_gpu_power_limit_watts", "Power that a GPU may draw.", ["gpu"], multiprocess_mode="livemostrecent"
)
GPU_TEMPERATURE = Gauge(
    "twins_gpu_temperature_celsius", "Temperature of a GPU.", ["gpu"], multiprocess_mode="livemostrecent"
)
GPU_THROTTLED = Gauge(
    "twins_gpu_throttled",
    "Whether a GPU's clocks are held back.",
    ["gpu", "reason"],
    multiprocess_mode="livemostrecent",
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


def in_flight_limit(images: int) -> None:
    """So many images may be in work in this frontend."""
    IN_FLIGHT_LIMIT.set(images)


def worker_up(worker: str, *, up: bool) -> None:
    """A worker became ready, or is gone."""
    WORKER_UP.labels(worker).set(up)


def worker_busy(worker: str, duration_s: float) -> None:
    """A worker's device ran one batch for so long."""
    BUSY.labels(worker).inc(duration_s)


def drain_until(unix_time_s: float) -> None:
    """The service was told to stop, and must have ended by then."""
    DRAIN_DEADLINE.set(unix_time_s)


def restarted(process: str, reason: str) -> None:
    """A process is started again."""
    RESTARTS.labels(process, reason).inc()


def image_refused(reason: str) -> None:
    """An image could not be used."""
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


GPU_READINGS = {
    "utilization": GPU_UTILIZATION,
    "memory_used": GPU_MEMORY_USED,
    "memory_total": GPU_MEMORY_TOTAL,
    "power": GPU_POWER,
    "power_limit": GPU_POWER_LIMIT,
    "temperature": GPU_TEMPERATURE,
}


def gpu_found(gpu: str, uuid: str, name: str) -> None:
    """The machine has this GPU."""
    GPU_INFO.labels(gpu, uuid, name).set(1)


def gpu_reading(gpu: str, reading: str, value: float) -> None:
    """A GPU tells one of `GPU_READINGS`, in the gauge's unit; NaN if it does not answer any more."""
    GPU_READINGS[reading].labels(gpu).set(value)


def gpu_throttled(gpu: str, reason: str, value: float) -> None:
    """A GPU's clocks are held back for that reason: 1, or not: 0."""
    GPU_THROTTLED.labels(gpu, reason).set(value)


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
