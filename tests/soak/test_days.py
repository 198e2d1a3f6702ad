"""Many requests leave nothing behind, and the same image always gets the same answer."""

import pytest

from tests.soak import answers, days
from tests.soak.checks import check

SCENARIOS = (*answers.SCENARIOS, *days.SCENARIOS)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_many_requests_keep_what_is_promised(scenario):
    check(scenario)
