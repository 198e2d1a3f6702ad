"""The panels of the dashboard, row by row. `tools.dashboard` turns them into the JSON of Grafana.

Queries use recorded series where there are any, and otherwise the metrics of the service.
"""

from dataclasses import dataclass, field
from typing import Any

MODEL = 'model=~"$model"'
WINDOW = "[$__rate_interval]"


@dataclass(frozen=True)
class Panel:
    """One panel. `queries` maps legends to expressions."""

    title: str
    queries: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    description: str = ""
    width: int = 8
    height: int = 8
    stacked: bool = False
    options: dict[str, Any] = field(default_factory=dict)


def number(title: str, query: str, unit: str = "short", description: str = "") -> Panel:
    """Return a panel that shows one number."""
    shown = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"}
    return Panel(title, {"": query}, unit, "stat", description, width=4, height=4, options=shown)


QUANTILES = {"p50": 'quantile="0.5"', "p95": 'quantile="0.95"', "p99": 'quantile="0.99"'}

STAGES = "job_model_stage:twins_stage_duration_seconds:quantile_rate5m"

ROWS: dict[str, tuple[Panel, ...]] = {
    "Now": (
        number("Ready workers", "sum(twins_worker_up)", description="Runbook: TwinsNoReadyWorker"),
        number("Requests", "sum(job_model_code:twins_requests:rate5m)", "reqps"),
        number("Failed", "max(job:twins_requests_failed:ratio_rate5m)", "percentunit", "Runbook: TwinsErrorBudgetBurn"),
        number("Slower than a second", f"max(job_model:twins_requests_slow:ratio_rate5m{{{MODEL}}})", "percentunit"),
        number("Queue", "max(instance:twins_in_flight_images:ratio)", "percentunit", "Runbook: TwinsRefusing"),
        number(
            "Restarts", "sum(twins_process_restarts_total) or vector(0)", description="Runbook: TwinsWorkerRestarting"
        ),
    ),
    "Traffic": (
        Panel(
            "Requests by model",
            {"{{model}}": f"sum by (model) (job_model_code:twins_requests:rate5m{{{MODEL}}})"},
            "reqps",
            stacked=True,
        ),
        Panel(
            "Requests by outcome",
            {"{{code}}": 'sum by (code) (job_model_code:twins_requests:rate5m{model=~"$model|"})'},
            "reqps",
            description="Includes requests that name an unknown model.",
        ),
        Panel(
            "Requests by protocol",
            {"{{protocol}}": f"sum by (protocol) (rate(twins_requests_total{{{MODEL}}}{WINDOW}))"},
            "reqps",
            stacked=True,
        ),
    ),
    "Errors": (
        Panel(
            "Failed, by model",
            {"{{model}}": f"job_model:twins_requests_failed:ratio_rate5m{{{MODEL}}}"},
            "percentunit",
            description="The fraction of valid requests without an answer. Runbook: TwinsErrorBudgetBurn",
        ),
        Panel(
            "Failed, by window",
            {
                "5 minutes": "job:twins_requests_failed:ratio_rate5m",
                "1 hour": "job:twins_requests_failed:ratio_rate1h",
                "6 hours": "job:twins_requests_failed:ratio_rate6h",
            },
            "percentunit",
            description="The series that the alert uses. Runbook: TwinsErrorBudgetBurn",
        ),
        Panel(
            "Images by outcome",
            {"{{code}}": f"sum by (code) (rate(twins_images_total{{{MODEL}}}{WINDOW}))"},
            "cps",
            description="A request with several images succeeds even if some of them fail; this panel shows them.",
        ),
        Panel("Images rejected", {"{{reason}}": f"sum by (reason) (rate(twins_images_refused_total{WINDOW}))"}, "cps"),
        Panel(
            "Process restarts",
            {"{{process}}, {{reason}}": "sum by (process, reason) (twins_process_restarts_total)"},
            description="Runbook: TwinsWorkerRestarting",
        ),
        Panel(
            "Images retried",
            {"{{model}}": f"sum by (model) (twins_retries_total{{{MODEL}}})"},
            description="Images that were sent again because the worker that held them died.",
        ),
        Panel(
            "Ready workers",
            {"{{instance}}": "sum by (instance) (twins_worker_up)"},
            description="Runbook: TwinsNoReadyWorker",
        ),
    ),
    "Latency": (
        Panel(
            "Requests",
            {
                f"{{{{model}}}} {name}": f"job_model:twins_request_duration_seconds:quantile_rate5m{{{MODEL}, {label}}}"
                for name, label in QUANTILES.items()
            },
            "s",
            description="Time from the headers of a request to its answer. Runbook: TwinsSlow",
        ),
        *(
            Panel(
                f"Stages, {name}",
                {"{{model}} {{stage}}": f"{STAGES}{{{MODEL}, {label}}}"},
                "s",
            )
            for name, label in QUANTILES.items()
        ),
        Panel(
            "Where an image's time goes",
            {
                "{{stage}}": f"sum by (stage) (rate(twins_stage_duration_seconds_sum{{{MODEL}}}{WINDOW}))"
                f" / sum by (stage) (rate(twins_stage_duration_seconds_count{{{MODEL}}}{WINDOW}))"
            },
            "s",
            description="The mean time of each stage. The sum is the time that an image takes.",
            stacked=True,
        ),
        Panel(
            "Slower than a second",
            {"{{model}}": f"job_model:twins_requests_slow:ratio_rate5m{{{MODEL}}}"},
            "percentunit",
            description="Runbook: TwinsSlow",
        ),
    ),
    "Batching": (
        Panel("Mean batch", {"{{model}}": f"job_model:twins_batch_size:mean_rate5m{{{MODEL}}}"}),
        Panel(
            "Batches by size",
            {"{{le}}": f"sum by (le) (increase(twins_batch_size_bucket{{{MODEL}}}{WINDOW}))"},
            kind="heatmap",
            options={"calculate": False, "yAxis": {"unit": "short"}},
        ),
        Panel("Batches", {"{{model}}": f"sum by (model) (rate(twins_batch_size_count{{{MODEL}}}{WINDOW}))"}, "ops"),
    ),
    "Saturation": (
        Panel(
            "Images in flight",
            {"{{instance}}": "twins_in_flight_images", "{{instance}}, limit": "twins_in_flight_limit_images"},
            description="At the limit, requests are rejected. Runbook: TwinsRefusing",
        ),
        Panel(
            "Device busy",
            {"{{instance}} {{worker}}": "instance_worker:twins_worker_busy:ratio_rate5m"},
            "percentunit",
            description="Near 100 %, the device is the limit. Far below 100 % with a queue, decoding is the limit.",
        ),
        Panel("Waiting for the device", {"{{instance}} {{worker}}": "sum by (instance, worker) (twins_queue_depth)"}),
    ),
    "GPU and memory": (
        Panel("GPU utilization", {"{{instance}} {{gpu}}": "twins_gpu_utilization_ratio"}, "percentunit"),
        Panel(
            "GPU memory",
            {
                "{{instance}} {{gpu}}": "twins_gpu_memory_used_bytes",
                "{{instance}} {{gpu}}, total": "twins_gpu_memory_total_bytes",
                "{{instance}} {{worker}} {{kind}}": "twins_device_memory_bytes",
            },
            "bytes",
            description="Runbook: TwinsDeviceMemory",
        ),
        Panel("Memory of processes", {"{{instance}} {{process}}": "twins_process_resident_memory_bytes"}, "bytes"),
        Panel(
            "GPU power",
            {
                "{{instance}} {{gpu}}": "twins_gpu_power_watts",
                "{{instance}} {{gpu}}, limit": "twins_gpu_power_limit_watts",
            },
            "watt",
        ),
        Panel("GPU temperature", {"{{instance}} {{gpu}}": "twins_gpu_temperature_celsius"}, "celsius"),
        Panel(
            "GPU clocks held back",
            {"{{instance}} {{gpu}} {{reason}}": "twins_gpu_throttled"},
            description="1 if the clocks are reduced for this reason. A power cap under load is normal; heat is not.",
        ),
    ),
}
