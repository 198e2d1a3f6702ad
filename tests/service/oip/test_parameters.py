"""The parameters of a request of the Open Inference Protocol: whole numbers in JSON have no bounds."""

from types import SimpleNamespace

import pytest

from service.errors import BadRequest
from service.oip.inference import shorten_deadline
from service.oip.parameters import options_of
from twins.tasks.detect import DETECT


def test_a_whole_number_that_no_float_holds_is_refused():
    with pytest.raises(BadRequest, match="threshold is too large"):
        options_of(DETECT, {"threshold": 10**400}, {})


def test_a_timeout_beyond_all_time_is_refused():
    outcome = SimpleNamespace(deadline=1.0, caller=SimpleNamespace(arrived=0.0))
    with pytest.raises(BadRequest, match="microseconds"):
        shorten_deadline(outcome, {"timeout": 10**400})
