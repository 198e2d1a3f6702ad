"""The page of reliability, and the figures that fill it."""

import json
import re

import pytest

from tests.soak import page, result, test_days, test_faults, test_loads
from tests.soak.samples import growth
from tests.soak.scenario import Limit, Report
from tests.soak.scenarios import SCENARIOS
from tools.documents import ROOT

REPORT = Report(sent=10, answered=8, refused=1, lost=1, slowest_s=2.0, figures={"goodput": 0.8})


def test_the_page_agrees_with_the_published_figures():
    text = page.PAGE.read_text("utf-8")
    assert text == page.page(text, json.loads(result.FILE.read_text("utf-8"))), "run `python -m tests.soak.page`"


def test_every_scenario_is_run_by_a_test():
    tested = {each.name for module in (test_days, test_faults, test_loads) for each in module.SCENARIOS}
    assert tested == SCENARIOS.keys()


def test_the_files_of_the_tests_that_the_table_names_exist():
    named = re.findall(r"pytest (tests/[\w/.]+)", " ".join(each.command for each in page.ELSEWHERE))
    assert named
    assert all((ROOT / path).exists() for path in named)


@pytest.mark.parametrize(
    ("limit", "kept", "kept_in_short"),
    [
        (Limit("goodput", least=0.9, loose=0.5), False, True),
        (Limit("goodput", least=0.7), True, True),
        (Limit("lost", most=0, loose=1), False, True),
        (Limit("lost", most=0), False, False),
        (Limit("recovery_s", most=5), False, False),  # which was not measured
    ],
)
def test_a_limit_may_be_loose_in_the_short_form(limit, kept, kept_in_short):
    assert limit.is_kept(REPORT, short=False) == kept
    assert limit.is_kept(REPORT, short=True) == kept_in_short


def test_growth_leaves_out_the_warm_up_and_compares_medians():
    values = [1, 50, 60, 100, 100, 190, 100, 100, 100, 100, 100, 100, 110, 300, 110]
    assert growth([{"worker-0": value} for value in values]) == {"worker-0": pytest.approx(0.1)}


def test_what_shrinks_has_not_grown():
    assert growth([{"worker-0": value} for value in range(20, 0, -1)]) == {"worker-0": 0.0}


def test_figures_of_another_machine_replace_those_of_the_file(tmp_path):
    path, entry = tmp_path / "soak.json", {"date": "2000-01-01", "broken": []}
    old = result.document({"days": entry}, short=True, command="old")
    result.save(old, path)
    new = result.document({"overload": entry}, short=True, command="new")
    assert result.merged(new, path)["scenarios"].keys() == {"days", "overload"}
    assert result.merged({**new, "short": False}, path)["scenarios"].keys() == {"overload"}
