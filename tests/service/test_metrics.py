"""The metrics: named as Prometheus wants it, and right over several processes."""

import os
import re
import subprocess
import sys

import pytest
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from service import metrics
from twins.images.decode import ImageError

METRICS = {name: found for name, found in vars(metrics).items() if isinstance(found, MetricWrapperBase)}
FAMILIES = {name: next(iter(found.collect())) for name, found in METRICS.items()}
NOT_BASE_UNITS = re.compile(
    "_(ms|millis|milliseconds|microseconds|minutes|hours|kb|mb|kilobytes|megabytes|percent)(_|$)"
)
every_metric = pytest.mark.parametrize("name", METRICS)


@every_metric
def test_a_name_is_in_snake_case_after_the_products(name):
    assert re.fullmatch("twins(_[a-z]+)+", FAMILIES[name].name)


@every_metric
def test_a_name_has_no_unit_but_a_base_unit(name):
    assert not NOT_BASE_UNITS.search(FAMILIES[name].name)


@every_metric
def test_a_time_or_a_size_ends_with_its_unit(name):
    family = FAMILIES[name]
    if re.search("duration|memory|_load", family.name):
        assert family.name.endswith(("_seconds", "_bytes"))


@pytest.mark.parametrize("name", [name for name, found in METRICS.items() if isinstance(found, Counter)])
def test_a_counter_is_shown_with_total_at_its_end(name):
    METRICS[name].labels(*["x"] * len(METRICS[name]._labelnames))
    assert {s.name for f in METRICS[name].collect() for s in f.samples if not s.name.endswith("_created")} == {
        f"{FAMILIES[name].name}_total"
    }


@pytest.mark.parametrize("name", [name for name, found in METRICS.items() if not isinstance(found, Counter)])
def test_only_a_counter_is_called_a_total(name):
    assert not FAMILIES[name].name.endswith("_total")


@every_metric
def test_a_metric_is_explained_in_a_sentence(name):
    assert re.fullmatch(r"[A-Z].+\.", FAMILIES[name].documentation)


@every_metric
def test_labels_are_words(name):
    assert all(re.fullmatch("[a-z]+", label) for label in METRICS[name]._labelnames)


@pytest.mark.parametrize("name", [name for name, found in METRICS.items() if isinstance(found, Gauge)])
def test_a_gauge_says_how_processes_add_up_and_forgets_the_dead(name):
    assert METRICS[name]._multiprocess_mode.startswith("live")


@pytest.mark.parametrize("name", [name for name, found in METRICS.items() if isinstance(found, Histogram)])
def test_a_histograms_steps_go_up(name):
    steps = METRICS[name]._kwargs["buckets"]
    assert list(steps) == sorted(set(steps))


def test_every_reason_for_which_an_image_is_refused_is_a_word():
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
metrics.queue_depth("worker-0", 5)
metrics.request("nano", "http", "ok", 0.02)
metrics.in_flight(2)
"""
RENDER = """
import sys
from service import metrics
for pid in sys.argv[1:]:
    metrics.process_gone(int(pid))
sys.stdout.buffer.write(metrics.render())
"""


@pytest.fixture
def environ(tmp_path):
    """The environment of a service's processes."""
    return {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}


@pytest.fixture
def written(environ):
    """Lets a frontend and a worker write, one after the other; their process ids."""
    pids = []
    for script in (FRONTEND, WORKER):
        with subprocess.Popen([sys.executable, "-c", script], env=environ) as process:
            assert process.wait(60) == 0
        pids.append(process.pid)
    return pids


@pytest.fixture
def render(environ):
    """What another process shows after it was told that some are dead: samples by name and labels."""

    def read(*dead: int) -> dict[tuple[str, tuple], float]:
        command = [sys.executable, "-c", RENDER, *map(str, dead)]
        text = subprocess.run(command, env=environ, check=True, capture_output=True, timeout=60).stdout.decode()
        families = text_string_to_metric_families(text)
        return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}

    return read


REQUESTS = ("twins_requests_total", (("code", "ok"), ("model", "nano"), ("protocol", "http")))
IN_FLIGHT = ("twins_in_flight_images", ())
QUEUE = ("twins_queue_depth", (("worker", "worker-0"),))


def test_counters_of_all_processes_add_up(written, render):
    assert render()[REQUESTS] == 3


def test_histograms_of_all_processes_add_up(written, render):
    labels = (("model", "nano"), ("protocol", "http"))
    assert render()["twins_request_duration_seconds_count", labels] == 3


def test_gauges_of_living_processes_add_up(written, render):
    assert render()[IN_FLIGHT] == 5


def test_a_dead_processs_gauges_are_forgotten(written, render):
    frontend, _ = written
    assert render(frontend)[IN_FLIGHT] == 2


def test_a_dead_workers_queue_is_forgotten(written, render):
    _, worker = written
    assert QUEUE not in render(worker)


def test_a_dead_processs_counts_stay(written, render):
    assert render(*written)[REQUESTS] == 3
