"""The metrics of GPUs, and of machines without GPUs. The library is a fake; the processes are real."""

import math
import os
import subprocess
import sys
from ctypes.util import find_library

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service import metrics
from service.processes import gpu
from tests import nvml

READ = """
import sys
from pathlib import Path
from service import metric_page
from service.processes import gpu
found = gpu.find()
for lost in sys.argv[1:]:
    for name, handle in found.items():
        gpu.read(name, handle)
    Path(lost).touch()
for name, handle in found.items():
    gpu.read(name, handle)
sys.stdout.buffer.write(metric_page.render())
"""
RUN = """
import sys
from service import metric_page
from service.processes import gpu
gpu.run()
sys.stdout.buffer.write(metric_page.render())
"""


def python(script: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess:
    """Run a script."""
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, **environ},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def environ(tmp_path) -> dict[str, str]:
    """Return the environment of a process with two GPUs."""
    (tmp_path / "metrics").mkdir()
    return {**nvml.build(tmp_path), "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "metrics")}


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Return the name and the label values of every sample."""
    families = text_string_to_metric_families(text)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


@nvml.needs_compiler
def test_the_readings_of_a_gpu_are_in_base_units(environ):
    shown = samples(python(READ, **environ).stdout)
    assert shown["twins_gpu_utilization_ratio", "0"] == 0.4
    assert shown["twins_gpu_memory_used_bytes", "0"] == 20 * 2**30
    assert shown["twins_gpu_memory_total_bytes", "0"] == 80 * 2**30
    assert shown["twins_gpu_power_watts", "0"] == 250.5
    assert shown["twins_gpu_power_limit_watts", "0"] == 700
    assert shown["twins_gpu_temperature_celsius", "0"] == 61


@nvml.needs_compiler
def test_a_gpu_is_labelled_by_its_number_and_described_by_name_and_uuid(environ):
    shown = samples(python(READ, **environ).stdout)
    assert {key for key in shown if key[0] == "twins_gpu_info"} == {
        ("twins_gpu_info", "0", "Fake 0", "GPU-00000000"),
        ("twins_gpu_info", "1", "Fake 1", "GPU-00000001"),
    }


@nvml.needs_compiler
def test_each_reason_for_reduced_clocks_has_its_own_label(environ):
    shown = samples(python(READ, **environ).stdout)
    throttled = {key[2]: value for key, value in shown.items() if key[:2] == ("twins_gpu_throttled", "0")}
    assert throttled == {reason: float(reason == "power_cap") for reason in gpu.THROTTLE_REASONS}


@nvml.needs_compiler
def test_an_unsupported_reading_is_left_out(environ):
    shown = {key[0] for key in samples(python(READ, **environ).stdout) if key[1:2] == ("1",)}
    assert "twins_gpu_temperature_celsius" in shown
    assert not shown & {"twins_gpu_power_watts", "twins_gpu_power_limit_watts", "twins_gpu_throttled"}


@nvml.needs_compiler
def test_a_lost_gpu_does_not_keep_its_last_readings(environ):
    shown = samples(python(READ, environ["FAKE_NVML_LOST"], **environ).stdout)
    readings = {key: value for key, value in shown.items() if key[0] != "twins_gpu_info" and key[1:2] == ("0",)}
    assert len(readings) == len(gpu.READINGS) + len(gpu.THROTTLE_REASONS)
    assert all(map(math.isnan, readings.values()))


@pytest.mark.skipif(find_library("nvidia-ml") is not None, reason="this machine has a driver")
def test_a_machine_without_a_driver_has_no_metrics_and_no_warning(tmp_path):
    ran = python(RUN, PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    assert "twins_gpu" not in ran.stdout
    assert ran.stderr == ""


def test_every_reading_has_its_gauge():
    assert set(gpu.READINGS) == set(metrics.GPU_READINGS)
