"""Every fault in its short form keeps its promise."""

import pytest

from tests.soak import devices, disks, processes, resources
from tests.soak.checks import check

SCENARIOS = (*processes.SCENARIOS, *devices.SCENARIOS, *disks.SCENARIOS, *resources.SCENARIOS)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_fault_under_load_keeps_its_promise(scenario):
    check(scenario)
