"""API keys and their names."""

import pytest

from service.core.keys import ApiKeys
from service.errors import Unauthenticated


def test_a_plain_key_is_called_by_its_number():
    keys = ApiKeys(["first", "second"])
    assert [keys.name_of("first"), keys.name_of("second")] == ["key-1", "key-2"]


def test_a_key_can_have_a_name_which_is_not_part_of_it():
    keys = ApiKeys(["plain", "team-a:s3cret"])
    assert keys.name_of("s3cret") == "team-a"
    for wrong in ("team-a", "team-a:s3cret", "team-a:"):
        with pytest.raises(Unauthenticated):
            keys.name_of(wrong)


@pytest.mark.parametrize("key", ["YWJj+/==", "a.b-c_d~e", "=:)"])
def test_a_plain_key_with_signs_in_it_is_still_the_key(key):
    assert ApiKeys([key]).name_of(key) == "key-1"


@pytest.mark.parametrize("given", [None, "", "wrong"])
def test_a_wrong_key_is_rejected(given):
    with pytest.raises(Unauthenticated):
        ApiKeys(["right"]).name_of(given)


def test_without_keys_every_request_is_accepted_and_has_no_name():
    assert ApiKeys([]).name_of("whatever") == ""
