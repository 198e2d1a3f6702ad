"""The check of a scenario in its short form."""

import pytest

from tests.soak.scenario import Scenario


def check(scenario: Scenario) -> None:
    """Measure a scenario shortly and assert that it keeps its promise. Skip it where the machine lacks something."""
    if reason := scenario.missing():
        pytest.skip(f"needs {reason}")
    report = scenario.measure(short=True)
    assert scenario.broken(report, short=True) == [], report
