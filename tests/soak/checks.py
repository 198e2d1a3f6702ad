"""The check of a scenario in its short form."""

import pytest

from tests.soak.scenario import Limit, Scenario


def check(scenario: Scenario) -> None:
    """Measure a scenario shortly and assert that it keeps the limits of tests. Skip it where something is missing."""
    if reason := scenario.missing():
        pytest.skip(f"needs {reason}")
    report = scenario.measure(short=True)
    broken = scenario.broken(report, Limit.passes)
    assert not broken, f"{', '.join(broken)}; {report}"
