"""The benchmarks of the paper: how costs grow with the image and the window, and what is compared."""

import pytest

from bench.models import complexity
from bench.models.baselines import CONTESTANTS
from twins.network.cost import pair_cost, pair_formula
from twins.network.variants import VARIANTS
from twins.zoo.paper import PAPER


@pytest.mark.parametrize("window", [2, 4, 7, 8, 14, 28])
def test_the_formula_of_the_paper_is_what_is_counted(window):
    assert pair_cost(56, window).attention == pair_formula(56, window)


def test_the_published_window_costs_least_on_the_first_map():
    costs = {window: pair_formula(56, window) for window in (1, 2, 4, 7, 14, 28, 56)}
    assert min(costs, key=costs.get) == 7


def test_a_cell_is_measured_with_its_memory():
    found = complexity.measure("SVT", 112, 0)
    assert found["ms"] > 0
    assert found["memory, MB"] >= 0


def test_global_attention_grows_with_the_square_of_the_area_and_the_others_less(monkeypatch):
    monkeypatch.setattr(complexity, "in_process", lambda *_: {"ms": 1.0, "memory, MB": 1.0})
    found = {row["network"]: row for row in complexity.growth(list(complexity.rows((224, 448), 0)))}
    assert found["global attention"]["of attention, G"] == pytest.approx(2, abs=0.01)
    assert found["SVT"]["FLOPs, G"] < 1.2
    assert found["PCPVT"]["FLOPs, G"] < 1.3


def test_the_scores_beside_the_baselines_are_those_of_the_table():
    table = {entry.variant: entry.scores["top1"] for entry in PAPER if entry.table in ("1", "5")}
    ours = {each.build.args[0]: each.top1 for each in CONTESTANTS if getattr(each.build, "args", [""])[0] in VARIANTS}
    assert len(ours) == 7
    assert ours == {variant: table[variant] for variant in ours}
