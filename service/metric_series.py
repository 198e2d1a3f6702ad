"""The definitions of all metrics: names, labels and buckets. `service.metrics` records them."""

from pathlib import Path
from typing import Any

from prometheus_client import Counter, Gauge, Histogram, values
from prometheus_client import samples as exemplars_of_library

from service.environment import METRICS_FOLDER, variable
from service.metric_exemplars import Exemplar, Exemplars
from service.metric_files import MetricFiles
from service.metric_storage import Storage

LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)  # seconds
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
STAGES = ("decode_queue", "decode", "preprocess", "queue", "infer", "postprocess")

FILES = MetricFiles(Path(folder)) if (folder := variable(METRICS_FOLDER)) else None
EXEMPLARS = Exemplars(FILES.folder) if FILES else None


def with_exemplars(value_class: type[Any], exemplars: Exemplars) -> type[Any]:
    """Return a class of values that keeps exemplars, which that of the library for several processes does not."""

    class ValueWithExemplar(value_class):  # type: ignore[misc]
        """A value with its latest exemplar."""

        def set_exemplar(self, exemplar: exemplars_of_library.Exemplar) -> None:
            """Keep an exemplar."""
            _, _, series, names, texts, *_ = self._params
            labels = tuple(sorted(zip(names, texts, strict=True)))
            exemplars.add(Exemplar(series, labels, exemplar.labels, exemplar.value, float(exemplar.timestamp or 0)))

    return ValueWithExemplar


if FILES and EXEMPLARS:  # before the first metric is made
    values.MmapedDict = Storage  # type: ignore[attr-defined, assignment]
    of_processes = values.MultiProcessValue(lambda: FILES.generation)  # type: ignore[no-untyped-call]
    values.ValueClass = with_exemplars(of_processes, EXEMPLARS)

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
DECODES_ABORTED = Counter(
    "twins_decodes_aborted",
    "Number of large images whose decoding was aborted: timeout, crash or cancelled.",
    ["reason"],
)
OPEN_CALLS = Gauge("twins_open_calls", "Number of open gRPC calls.", multiprocess_mode="livesum")
OPEN_CONNECTIONS = Gauge("twins_open_connections", "Number of open HTTP connections.", multiprocess_mode="livesum")
CONNECTIONS_REFUSED = Counter(
    "twins_connections_refused",
    "Number of connections and gRPC calls that a limit refused or ended.",
    ["protocol", "reason"],
)
LOG_LINES_DROPPED = Counter(
    "twins_log_lines_dropped",
    "Number of log lines that were dropped because standard error was not read fast enough.",
    ["process"],
)
SPANS_LOST = Counter(
    "twins_spans_lost",
    "Number of spans of traces that were dropped because the receiver did not take them fast enough, or at all.",
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
