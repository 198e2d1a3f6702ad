"""The metrics in Triton's names, and the statistics of models, from the service's own metrics."""

from prometheus_client.parser import text_string_to_metric_families

from service.metric_page import Value
from service.oip import statistics
from service.oip.triton_metrics import render

GPU = {"gpu": "0"}


def value(name: str, number: float, /, **labels: str) -> Value:
    """Return the value of a series."""
    return Value(name, labels, number)


VALUES = [
    value("twins_requests_total", 7, model="m", protocol="http", code="ok"),
    value("twins_requests_total", 2, model="m", protocol="grpc", code="ok"),
    value("twins_requests_total", 3, model="m", protocol="http", code="overloaded"),
    value("twins_requests_total", 1, model="m", protocol="http", code="bad_request"),
    value("twins_requests_total", 5, model="", protocol="http", code="not_found"),
    value("twins_images_total", 12, model="m", protocol="http", code="ok"),
    value("twins_images_total", 4, model="m", protocol="http", code="unreadable_image"),
    value("twins_request_duration_seconds_sum", 2.5, model="m", protocol="http"),
    value("twins_failed_request_seconds_total", 0.5, model="m", protocol="http"),
    value("twins_batch_size_count", 6, model="m"),
    value("twins_stage_duration_seconds_sum", 0.25, model="m", stage="queue"),
    value("twins_stage_duration_seconds_count", 12, model="m", stage="queue"),
    value("twins_stage_duration_seconds_sum", 0.1, model="m", stage="decode"),
    value("twins_stage_duration_seconds_sum", 0.2, model="m", stage="preprocess"),
    value("twins_stage_duration_seconds_count", 12, model="m", stage="preprocess"),
    value("twins_stage_duration_seconds_sum", 1.5, model="m", stage="infer"),
    value("twins_queue_depth", 3, worker="worker-0", model="m"),
    value("twins_queue_depth", 1, worker="worker-1", model="m"),
    value("twins_last_request_timestamp_seconds", 1000.5, model="m"),
    value("twins_gpu_info", 1, **GPU, uuid="GPU-1", name="n"),
    value("twins_gpu_utilization_ratio", 0.5, **GPU),
]


def found() -> dict[str, float]:
    """Return each sample of the text as Prometheus reads it, by its name and its labels besides the model's."""
    samples = {}
    for family in text_string_to_metric_families(render(VALUES)):
        for sample in family.samples:
            rest = sorted(text for name, text in sample.labels.items() if name not in ("model", "version"))
            samples["/".join((sample.name.removesuffix("_total"), *rest))] = sample.value
    return samples


def test_prometheus_reads_triton_s_names_with_the_right_values():
    samples = found()
    assert {name: samples[name] for name in samples if "inference" in name} == {
        "nv_inference_request_success": 9,
        "nv_inference_count": 12,
        "nv_inference_exec_count": 6,
        "nv_inference_request_duration_us": 2_000_000,
        "nv_inference_queue_duration_us": 250_000,
        "nv_inference_compute_input_duration_us": 300_000,
        "nv_inference_compute_infer_duration_us": 1_500_000,
        "nv_inference_compute_output_duration_us": 0,
        "nv_inference_request_failure/REJECTED": 3,
        "nv_inference_request_failure/CANCELED": 0,
        "nv_inference_request_failure/BACKEND": 0,
        "nv_inference_request_failure/OTHER": 1,
        "nv_inference_pending_request_count": 4,
    }


def test_gpus_are_named_by_their_unique_ids():
    assert found()["nv_gpu_utilization/GPU-1"] == 0.5


def test_counters_are_declared_as_counters_without_total():
    lines = [line for line in render(VALUES).splitlines() if line.startswith("# TYPE nv_inference_count ")]
    assert lines == ["# TYPE nv_inference_count counter"]


def test_a_service_without_gpus_has_no_metrics_of_gpus():
    assert "nv_gpu" not in render([each for each in VALUES if not each.name.startswith("twins_gpu")])


def test_statistics_have_the_same_totals():
    (totals,) = statistics.totals(["m"], VALUES)
    form = statistics.form(totals)
    assert (form["inference_count"], form["execution_count"], form["last_inference"]) == (12, 6, 1_000_500)
    assert form["inference_stats"]["success"] == {"count": 9, "ns": 2_000_000_000}
    assert form["inference_stats"]["fail"] == {"count": 4, "ns": 500_000_000}
    assert form["inference_stats"]["queue"] == {"count": 12, "ns": 250_000_000}


def test_a_model_without_a_request_has_zeros():
    (totals,) = statistics.totals(["other"], VALUES)
    assert statistics.form(totals)["inference_stats"]["success"] == {"count": 0, "ns": 0}
