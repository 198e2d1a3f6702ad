"""The metrics: their names and types, and their values over several processes."""

import os
import re
import subprocess
import sys

import pytest
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from service import metric_page, metric_series
from twins.images.decode import ImageError

METRICS = {name: found for name, found in vars(metric_series).items() if isinstance(found, MetricWrapperBase)}
FAMILIES = {name: next(iter(found.collect())) for name, found in METRICS.items()}
NOT_BASE_UNITS = re.compile(
    "_(ms|millis|milliseconds|microseconds|minutes|hours|kb|mb|kilobytes|megabytes|percent)(_|$)"
)
every_metric = pytest.mark.parametrize("name", METRICS)


@every_metric
def test_a_name_is_in_snake_case_and_starts_with_twins(name):
    assert re.fullmatch("twins(_[a-z]+)+", FAMILIES[name].name)


@every_metric
def test_a_name_only_has_base_units(name):
    assert not NOT_BASE_UNITS.search(FAMILIES[name].name)


@every_metric
def test_a_time_or_a_size_ends_with_its_unit(name):
    family = FAMILIES[name]
    if re.search("duration|memory|_load", family.name):
        assert family.name.endswith(("_seconds", "_bytes"))


@pytest.mark.parametrize("name", [name for name, found in METRICS.items() if isinstance(found, Counter)])
def test_the_name_of_a_counter_ends_with_total(name):
    METRICS[name].labels(*["x"] * len(METRICS[name]._labelnames))
    assert {s.name for f in METRICS[name].collect() for s in f.samples if not s.name.endswith("_created")} == {
        f"{FAMILIES[name].name}_total"
    }


@pytest.mark.parametrize("name", [name for name, found in METRICS.items() if not isinstance(found, Counter)])
def test_only_the_name_of_a_counter_ends_with_total(name):
    assert not FAMILIES[name].name.endswith("_total")


@every_metric
def test_a_metric_has_a_sentence_as_its_description(name):
    assert re.fullmatch(r"[A-Z].+\.", FAMILIES[name].documentation)


@every_metric
def test_labels_are_words(name):
    assert all(re.fullmatch("[a-z]+", label) for label in METRICS[name]._labelnames)


@pytest.mark.parametrize("name", [name for name, found in METRICS.items() if isinstance(found, Gauge)])
def test_a_gauge_defines_its_aggregation_and_ignores_dead_processes_unless_it_is_a_time(name):
    mode = METRICS[name]._multiprocess_mode
    assert mode.startswith("live") or (mode == "max" and "timestamp" in METRICS[name]._name)


@pytest.mark.parametrize("name", [name for name, found in METRICS.items() if isinstance(found, Histogram)])
def test_the_buckets_of_a_histogram_increase(name):
    steps = METRICS[name]._kwargs["buckets"]
    assert list(steps) == sorted(set(steps))


def test_every_reason_for_rejecting_an_image_is_an_identifier():
    reasons = [kind.reason for kind in ImageError.__subclasses__()]
    assert all(re.fullmatch("[a-z]+(_[a-z]+)*", reason) for reason in reasons)


# ---------------------------------------------------------------------- several processes

FRONTEND = """
from service import metrics
metrics.request("nano", "http", "ok", 0.02)
metrics.request("nano", "http", "ok", 0.2)
metrics.in_flight(3)
"""
WORKER = """
from service import metrics
metrics.batch("nano", 4)
metrics.queue_depth("worker-0", {"m": 5})
metrics.request("nano", "http", "ok", 0.02)
metrics.in_flight(2)
"""
RENDER = """
import sys
from service import metric_page, metrics
for pid in sys.argv[1:]:
    metrics.process_gone(int(pid))
sys.stdout.buffer.write(metric_page.render())
"""


@pytest.fixture
def environ(tmp_path):
    """Return the environment of the processes of a service."""
    return {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}


@pytest.fixture
def written(environ):
    """Let a frontend and a worker record metrics one after the other. Return their process ids."""
    pids = []
    for script in (FRONTEND, WORKER):
        with subprocess.Popen([sys.executable, "-c", script], env=environ) as process:
            assert process.wait(60) == 0
        pids.append(process.pid)
    return pids


@pytest.fixture
def render(environ):
    """Return a function that renders the metrics in another process, after some processes have died."""

    def read(*dead: int) -> dict[tuple[str, tuple], float]:
        command = [sys.executable, "-c", RENDER, *map(str, dead)]
        text = subprocess.run(command, env=environ, check=True, capture_output=True, timeout=60).stdout.decode()
        families = text_string_to_metric_families(text)
        return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}

    return read


REQUESTS = ("twins_requests_total", (("code", "ok"), ("model", "nano"), ("protocol", "http")))
IN_FLIGHT = ("twins_in_flight_images", ())
QUEUE = ("twins_queue_depth", (("model", "m"), ("worker", "worker-0")))


def test_counters_of_all_processes_add_up(written, render):
    assert render()[REQUESTS] == 3


def test_histograms_of_all_processes_add_up(written, render):
    labels = (("model", "nano"), ("protocol", "http"))
    assert render()["twins_request_duration_seconds_count", labels] == 3


def test_gauges_of_live_processes_add_up(written, render):
    assert render()[IN_FLIGHT] == 5


def test_the_gauges_of_a_dead_process_are_removed(written, render):
    frontend, _ = written
    assert render(frontend)[IN_FLIGHT] == 2


def test_the_queue_depth_of_a_dead_worker_is_removed(written, render):
    _, worker = written
    assert QUEUE not in render(worker)


def test_the_counters_of_a_dead_process_stay(written, render):
    assert render(*written)[REQUESTS] == 3


# ---------------------------------------------------------------------- exemplars

OBSERVE = """
import sys, time
from service import metrics
for trace, seconds in (("a", 0.02), ("b", 0.021), ("c", 0.2), ("", 0.022)):
    metrics.stage("nano", "decode", seconds, sys.argv[1] + trace if trace else "")
metrics.write_exemplars()
"""
OPENMETRICS = """
import sys
from service import metric_page, metrics
for pid in sys.argv[1:]:
    metrics.process_gone(int(pid))
sys.stdout.buffer.write(metric_page.render(openmetrics=True) + metric_page.END)
"""


def observe(environ, process: str) -> int:
    """Let a process observe stages of traces. Return its id."""
    with subprocess.Popen([sys.executable, "-c", OBSERVE, process], env=environ) as running:
        assert running.wait(60) == 0
    return running.pid


def exemplars(environ, *dead: int) -> dict[str, tuple[str, float]]:
    """Return the trace and the value of the exemplar of each bucket that has one, by its bound."""
    command = [sys.executable, "-c", OPENMETRICS, *map(str, dead)]
    text = subprocess.run(command, env=environ, check=True, capture_output=True, timeout=60).stdout.decode()
    return {
        sample.labels["le"]: (sample.exemplar.labels["trace_id"], sample.exemplar.value)
        for family in openmetrics_families(text)
        for sample in family.samples
        if sample.exemplar
    }


def test_each_bucket_has_its_latest_trace_as_its_exemplar(environ):
    observe(environ, "first-")
    assert exemplars(environ) == {"0.025": ("first-b", 0.021), "0.25": ("first-c", 0.2)}


def test_the_latest_exemplar_of_all_processes_counts(environ):
    observe(environ, "first-")
    observe(environ, "second-")
    assert exemplars(environ) == {"0.025": ("second-b", 0.021), "0.25": ("second-c", 0.2)}


def test_a_dead_process_leaves_no_exemplars(environ):
    pid = observe(environ, "first-")
    assert exemplars(environ, pid) == {}


def test_the_text_format_has_no_exemplars(environ, render):
    observe(environ, "first-")
    assert render()["twins_stage_duration_seconds_count", (("model", "nano"), ("stage", "decode"))] == 4


def test_both_formats_have_the_same_values(written, environ, render):
    text = subprocess.run([sys.executable, "-c", OPENMETRICS], env=environ, check=True, capture_output=True, timeout=60)
    samples = [s for family in openmetrics_families(text.stdout.decode()) for s in family.samples]
    assert {(s.name, tuple(sorted(s.labels.items()))): s.value for s in samples} == render()


# ---------------------------------------------------------------------- pages of replicas


PAGE = '# HELP a_total Things.\n# TYPE a_total counter\na_total{x="1"} %d.0\n'
PAGES = {"r1": (PAGE % 2).encode(), "r2": (PAGE % 3).encode()}


def test_pages_of_several_replicas_become_one_in_openmetrics():
    text = metric_page.merged(PAGES, label="replica", openmetrics=True) + metric_page.END
    (family,) = openmetrics_families(text.decode())
    assert {sample.labels["replica"]: sample.value for sample in family.samples} == {"r1": 2, "r2": 3}


def test_pages_of_several_replicas_become_one_with_a_label():
    found = metric_page.merged(PAGES, label="replica").decode()
    assert found.count("# TYPE a_total counter") == 1
    assert 'a_total{replica="r1",x="1"} 2.0' in found
    assert 'a_total{replica="r2",x="1"} 3.0' in found
