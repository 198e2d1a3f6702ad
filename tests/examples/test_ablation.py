"""The recipe of the ablations: every row is trained, finished runs are kept, and the table says how sure it is."""

import json
import math

import pytest
from click.testing import CliRunner

from examples.train import ablation
from examples.train.__main__ import main
from examples.train.ablation import Finished
from tests import training
from twins.network.variants import VARIANTS


def finished(variant, seed, top1):
    return Finished(variant, seed, epochs=8, side=64, images=100, top1=top1, seconds=60.0)


def test_every_nano_row_belongs_to_a_table_of_the_paper():
    assert set(ablation.ROWS) == {name for name in VARIANTS if "nano" in name}


def test_a_second_start_trains_only_what_is_missing(tmp_path, monkeypatch):
    """One epoch of two variants on a few images."""
    monkeypatch.setattr(ablation, "ROWS", ("svt_nano_lll", "svt_nano_average"))
    training.class_folders(tmp_path / "images", 8)
    folders = (
        "--train",
        str(tmp_path / "images"),
        "--test",
        str(tmp_path / "images"),
        "--output",
        str(tmp_path / "run"),
    )
    arguments = ["ablation", *folders, "--epochs", "1", "--side", "56", "--seeds", "1"]
    first = CliRunner().invoke(main, arguments, catch_exceptions=False)
    lines = (tmp_path / "run" / "ablation.jsonl").read_text().splitlines()
    assert [json.loads(line)["variant"] for line in lines] == ["svt_nano_lll", "svt_nano_average"]
    (tmp_path / "run" / "ablation.jsonl").write_text(lines[0] + "\n")

    trained = []
    original = ablation.Ablation.run
    monkeypatch.setattr(
        ablation.Ablation, "run", lambda self, variant, seed: trained.append(variant) or original(self, variant, seed)
    )
    second = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert trained == ["svt_nano_average"]
    assert first.output.splitlines()[-3:] == second.output.splitlines()[-3:]


def test_runs_of_another_schedule_do_not_count(tmp_path):
    ablation.write(finished("svt_nano", 0, 50.0), tmp_path)
    assert not list(ablation.finished(tmp_path, ablation.Schedule(epochs=1, side=64)))
    assert len(list(ablation.finished(tmp_path, ablation.Schedule(epochs=8, side=64)))) == 1


def test_the_interval_is_students():
    (found,) = ablation.summarise(finished("svt_nano", seed, top1) for seed, top1 in enumerate((49.0, 50.0, 51.0)))
    assert found.mean == 50
    assert found.interval == pytest.approx(4.303 / math.sqrt(3))
    assert found.paper == 81.7


def test_ranks_stand_beside_those_of_the_paper():
    found = [finished("svt_nano_lll", 0, 60.0), finished("svt_nano_l_lg_lg_g", 0, 55.0), finished("pvt_nano", 0, 50.0)]
    cells = list(ablation.report(ablation.summarise(found)))
    assert [(variant, rank, there) for _, variant, _, _, rank, _, there in cells] == [
        ("svt_nano_lll", "1", "3"),
        ("svt_nano_l_lg_lg_g", "2", "1"),
        ("pvt_nano", "3", "2"),
    ]
