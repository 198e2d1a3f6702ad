"""The benchmark of a GPU: its whole code path on a processor, and a machine without a GPU."""

import json
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest
import torch
from click.testing import CliRunner

from bench.models import gpu


def test_the_command_runs_on_a_processor_and_writes_its_figures(tmp_path):
    done = CliRunner().invoke(gpu.main, ["--device", "cpu", "--quick", "--output", str(tmp_path)])
    assert done.exit_code == 0, done.output
    written = json.loads((tmp_path / "gpu.json").read_text("utf-8"))
    rows = [row for row in written["rows"] if row["table"] == "forward"]
    assert {(row["batch"], row["contestant"]) for row in rows} >= {
        (size, contestant) for size in (1, 2) for contestant in ("ours", gpu.PIPELINED)
    }
    assert all(row["images_per_s"] > 0 for row in rows)
    assert written["versions"]["torch"] == torch.__version__


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_machine_without_a_gpu_is_refused():
    done = CliRunner().invoke(gpu.main, [])
    assert (done.exit_code, "no NVIDIA GPU" in done.output) == (2, True)


def test_our_best_figure_is_compared_with_the_faster_of_timms():
    figures = {gpu.PIPELINED: 300.0, "timm": 100.0, "timm, compiled": 200.0}
    rows = [{"model": "m", "batch": 1, "contestant": label, "images_per_s": value} for label, value in figures.items()]
    (target,) = gpu.targets(rows)
    assert (target.measured, target.met) == ("1.50 ×", True)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_two_batches_are_in_flight_and_none_is_left(count):
    log = []

    class Batch:
        def result(self):
            log.append("result")

    class Model:
        def submit(self, samples):
            log.append("submit")
            return Batch()

    gpu.pipelined(Model(), [])(count)
    in_flight = [log[:index].count("submit") - log[:index].count("result") for index in range(len(log) + 1)]
    assert (log.count("submit"), max(in_flight), in_flight[-1]) == (count, min(count, 2), 0)


def test_timms_network_runs_beside_ours_if_it_is_installed(monkeypatch):
    timm = ModuleType("timm")
    timm.__spec__ = ModuleSpec("timm", None)
    timm.create_model = lambda name, *, pretrained: gpu.loaded(name).network
    monkeypatch.setitem(sys.modules, "timm", timm)
    rows = gpu.measure("twins_svt_small", torch.device("cpu"), "float32", gpu.Effort([1], seconds=0.01, rounds=1))
    assert "timm" in {row["contestant"] for row in rows}
