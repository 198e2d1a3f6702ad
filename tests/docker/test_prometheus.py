"""The Prometheus configuration and rules, checked by promtool and compared with the code."""

import re

import pytest
import yaml

from service import errors
from tests.prometheus import CONFIG, needs_prometheus, promtool, rules
from tools.documents import OPERATIONS
from tools.tables import metric_rows

ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
RECORDED = {rule["record"] for rule in rules() if "record" in rule}
TESTS = sorted((CONFIG / "tests").glob("*.yml"))
METRICS = {name.strip("`") for name, *_ in metric_rows()}


@needs_prometheus
def test_the_configuration_is_valid():
    ran = promtool("check", "config", CONFIG / "prometheus.yml")
    assert ran.returncode == 0, ran.stdout + ran.stderr


@needs_prometheus
@pytest.mark.parametrize("file", sorted((CONFIG / "rules").glob("*.yml")), ids=lambda path: path.name)
def test_the_rules_are_valid(file):
    ran = promtool("check", "rules", "--lint=all", "--lint-fatal", file)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@needs_prometheus
@pytest.mark.parametrize("file", TESTS, ids=lambda path: path.name)
def test_the_rules_pass_their_tests(file):
    ran = promtool("test", "rules", file)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_service_is_scraped_at_its_metrics_endpoint():
    (job,) = yaml.safe_load((CONFIG / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    assert job["job_name"] == "twins"
    assert job.get("metrics_path", "/metrics") == "/metrics"
    assert job["static_configs"] == [{"targets": ["twins:8000"]}]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_uses_existing_metrics(rule):
    named = set(re.findall(r"\btwins_\w+", re.sub(r"[\w]+:\w+:\w+", "", rule["expr"])))
    assert {re.sub("_(bucket|sum|count)$", "", name) for name in named} <= METRICS


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_uses_existing_recorded_series(rule):
    assert set(re.findall(r"\b[a-z_]+:\w+:\w+", rule["expr"])) <= RECORDED


def runbook() -> set[str]:
    """Return the alerts that have a section."""
    return set(re.findall(r"^### (Twins\w+)$", OPERATIONS.read_text("utf-8"), re.MULTILINE))


def test_every_alert_has_its_section_and_every_section_its_alert():
    assert runbook() == set(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_links_to_its_section(name):
    assert ALERTS[name]["annotations"]["runbook_url"] == f"docs/operations.md#{name.lower()}"


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_has_a_summary(name):
    assert re.fullmatch(r"\S.*[^.]", ALERTS[name]["annotations"]["summary"])
    assert ALERTS[name]["labels"] == {"severity": "page"}


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not(name):
    cases = [case for file in TESTS for test in yaml.safe_load(file.read_text())["tests"] for case in alert_cases(test)]
    outcomes = {bool(case["exp_alerts"]) for case in cases if case["alertname"] == name}
    assert outcomes == {True, False}


def alert_cases(test: dict) -> list[dict]:
    """Return the alert expectations of a test."""
    return test.get("alert_rule_test", [])


SERVER_ERRORS = {errors.Internal, errors.Unavailable, errors.Overloaded, errors.DeadlineExceeded}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_only_errors_of_the_service_count_as_failed(rule):
    for codes in re.findall(r'code=~"([^"]+)"', rule["expr"]):
        assert set(codes.split("|")) - {"ok"} == {error.code for error in SERVER_ERRORS}
