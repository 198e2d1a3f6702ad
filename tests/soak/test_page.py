"""The page of reliability, and the figures that fill it."""

import json
import math
import re
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import fields, replace

import pytest

from tests.fuzz.target import TARGETS
from tests.soak import __main__ as soak
from tests.soak import fuzzing, page, result, test_days, test_faults, test_loads
from tests.soak.__main__ import measure
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
    ("limit", "holds", "passes"),
    [
        (Limit("goodput", least=0.9, in_tests=0.5), False, True),
        (Limit("goodput", least=0.7), True, True),
        (Limit("lost", most=0, in_tests=1), False, True),
        (Limit("lost", most=0), False, False),
        (Limit("recovery_s", most=5), False, False),  # which was not measured
    ],
)
def test_tests_may_have_a_limit_of_their_own(limit, holds, passes):
    assert (limit.holds(REPORT), limit.passes(REPORT)) == (holds, passes)


@pytest.mark.parametrize("short", [True, False])
def test_a_broken_promise_is_in_the_table_in_both_forms(short):
    scenario = replace(SCENARIOS["overload"], limits=(Limit("goodput", least=0.9, in_tests=0.5),))
    shown = page.row(scenario, result.entry(scenario, REPORT, short=short))[-1]
    assert shown.startswith("**broken: goodput is 0.8, promised at least 0.9**")


def test_the_published_figures_name_each_broken_promise():
    for name, entry in json.loads(result.FILE.read_text("utf-8"))["scenarios"].items():
        measured = Report(**{each.name: entry.get(each.name, math.nan) for each in fields(Report)})
        assert "sent" not in entry or entry["broken"] == SCENARIOS[name].broken(measured), name


def test_the_long_forms_end_within_90_minutes():
    minutes = sum(scenario.long_s for scenario in SCENARIOS.values()) / 60
    assert minutes <= 90


def test_the_fuzzers_end_before_the_scenario_beside_which_they_run():
    assert fuzzing.SECONDS * len(TARGETS) < SCENARIOS[fuzzing.BESIDE].long_s


def test_fuzzers_that_cannot_run_are_in_the_entry(monkeypatch):
    monkeypatch.setattr(fuzzing, "COMMAND", (sys.executable, "-c", "raise SystemExit(3)"))
    scenario = replace(SCENARIOS["days"], limits=(), server=lambda *_: nullcontext(), run=lambda *_: REPORT)
    assert measure(scenario, short=False)["broken"] == ["tests.fuzz ended with 3"]


def test_the_command_of_the_fuzzers_is_one_that_they_understand():
    command = [*fuzzing.COMMAND[:-1], "0"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0


@pytest.fixture
def interrupted(tmp_path, monkeypatch):
    """A run of which the first scenario of two is in the file; the other one was not measured."""
    monkeypatch.setattr(result, "FILE", tmp_path / "soak.json")
    monkeypatch.setattr(page, "write", lambda: None)
    measured = []

    def report(name: str, fault: Exception | None = None):
        def run(*_: object) -> Report:
            measured.append(name)
            if fault:
                raise fault
            return REPORT

        return replace(SCENARIOS[name], limits=(), server=lambda *_: nullcontext(), run=run)

    both = {"overload": report("overload"), "drain": report("rolling-restarts", KeyboardInterrupt())}
    monkeypatch.setattr(soak, "SCENARIOS", both)
    with pytest.raises(KeyboardInterrupt):
        soak.main.callback(short=True, resume=False, only=())
    both["drain"] = report("rolling-restarts")
    return measured


def test_a_run_that_is_cut_off_keeps_its_figures(interrupted):
    assert json.loads(result.FILE.read_text("utf-8"))["scenarios"].keys() == {"overload"}


def test_a_run_that_was_cut_off_goes_on_with_what_is_missing(interrupted):
    with pytest.raises(SystemExit):
        soak.main.callback(short=True, resume=True, only=())
    assert interrupted == ["overload", "rolling-restarts", "rolling-restarts"]
    assert json.loads(result.FILE.read_text("utf-8"))["scenarios"].keys() == {"overload", "drain"}


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
