"""`twins table`: the paper's figures are those of the networks, or the table says why not."""

import json

import pytest
from click.testing import CliRunner

from service.cli.table import LITTLE, table
from twins.network.published import classifier
from twins.network.variants import VARIANTS
from twins.zoo.comparison import compare
from twins.zoo.models import ZOO
from twins.zoo.paper import COUNTINGS, PAPER

PARAMETERS_OFF = 0.01  # of the paper's figure
DECIMAL, WHOLE = 0.06, 1.0  # billions, for figures with a decimal and for whole ones

FOUND = list(compare())
NAMES = [f"{each.table}-{each.variant}" for each in FOUND]


@pytest.fixture
def show(monkeypatch):
    """Return what the command prints. The networks are counted once for all tests."""
    monkeypatch.setattr("service.cli.table.compare", lambda: FOUND)
    return printed


def printed(format_name):
    done = CliRunner().invoke(table, ["--format", format_name], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


@pytest.mark.parametrize("each", FOUND, ids=NAMES)
def test_parameters_are_the_papers_or_the_difference_is_explained(each):
    wanted = each.paper_parameters
    assert wanted is None or each.note or each.counted_parameters == pytest.approx(wanted, rel=PARAMETERS_OFF)


@pytest.mark.parametrize("each", FOUND, ids=NAMES)
def test_flops_are_the_papers_or_the_difference_is_explained(each):
    wanted, off_by = each.paper_flops, DECIMAL if each.flops < LITTLE else WHOLE
    assert wanted is None or each.note or each.counted_flops == pytest.approx(wanted, abs=off_by)


def test_only_three_rows_need_an_explanation_of_their_own():
    assert sum(bool(entry.note) for entry in PAPER) == 3


def test_parameters_are_those_of_the_network():
    each = next(each for each in FOUND if each.variant == "svt_small_lllg")
    network = classifier(VARIANTS["svt_small_lllg"])
    assert round(each.parameters * 1e6) == sum(value.numel() for value in network.parameters())


def test_a_linear_layer_costs_a_multiply_add_for_each_weight_and_token():
    from twins.network.cost import count

    network = classifier(VARIANTS["svt_nano"]).head
    found = count(network, lambda: network(network.weight.new_zeros(5, 256)))
    assert (found.multiply_adds, found.activations, found.attention) == (5 * 256 * 1000, 5 * 1000, 0)


def test_the_papers_scores_are_near_those_that_timm_measured():
    for entry in PAPER:
        if entry.table == "1":
            figures = ZOO[f"twins_{entry.variant}"].published.figures
            assert entry.scores["top1"] == pytest.approx(figures["top1"], abs=0.15)


@pytest.mark.parametrize("format_name", ["table", "markdown"])
def test_the_table_has_every_network_and_how_each_table_counts(format_name, show):
    text = " ".join(show(format_name).split())
    assert all(entry.variant in text for entry in PAPER)
    assert all(f"Table {name}: " in text for name in COUNTINGS)


def test_json_has_the_exact_figures(show):
    found = json.loads(show("json"))["networks"]
    small = next(each for each in found if (each["table"], each["variant"]) == ("1", "svt_small"))
    assert small["parameters"] == 24.060776
    assert small["size"] == [224, 224]
