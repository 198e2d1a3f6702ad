"""Every scenario in its short form keeps its promise."""

import pytest

from tests.soak import devices, disks, processes, resources

SCENARIOS = (*processes.SCENARIOS, *devices.SCENARIOS, *disks.SCENARIOS, *resources.SCENARIOS)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_fault_under_load_keeps_its_promise(scenario):
    if reason := scenario.missing():
        pytest.skip(f"needs {reason}")
    report = scenario.measure(short=True)
    assert scenario.broken(report, short=True) == [], report
