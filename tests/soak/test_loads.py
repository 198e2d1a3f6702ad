"""Every load in its short form keeps its promise."""

import pytest

from tests.soak import drain, fairness, overload
from tests.soak.checks import check

SCENARIOS = (*drain.SCENARIOS, *overload.SCENARIOS, *fairness.SCENARIOS)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_load_keeps_its_promise(scenario):
    check(scenario)
