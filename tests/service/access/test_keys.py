"""API keys: their names, scopes and ends."""

from datetime import UTC, datetime, timedelta

import pytest

from service.access.keys import SCOPES, Key, Keys, check_scope, digest, from_setting, repeated
from service.errors import Forbidden, Unauthenticated


def keys_of(*texts: str) -> Keys:
    """Return the keys of the setting."""
    return Keys(from_setting(texts), required=True)


def name_of(keys: Keys, secret: str) -> str:
    """Return the name of a key that is known."""
    key = keys.identify(secret)
    assert key
    return key.name


def test_a_plain_key_is_called_by_its_number():
    keys = keys_of("first", "second")
    assert [name_of(keys, "first"), name_of(keys, "second")] == ["key-1", "key-2"]


def test_a_key_can_have_a_name_which_is_not_part_of_it():
    keys = keys_of("plain", "team-a:s3cret")
    assert name_of(keys, "s3cret") == "team-a"
    for wrong in ("team-a", "team-a:s3cret", "team-a:"):
        with pytest.raises(Unauthenticated):
            keys.identify(wrong)


@pytest.mark.parametrize("key", ["YWJj+/==", "a.b-c_d~e", "=:)"])
def test_a_plain_key_with_signs_in_it_is_still_the_key(key):
    assert name_of(keys_of(key), key) == "key-1"


@pytest.mark.parametrize("given", [None, "", "wrong"])
def test_a_wrong_key_is_rejected(given):
    with pytest.raises(Unauthenticated):
        keys_of("right").identify(given)


def test_without_keys_every_request_is_accepted():
    assert Keys([], required=False).identify("whatever") is None


def test_where_keys_are_required_and_none_is_left_every_request_is_rejected():
    for given in (None, "", "whatever"):
        with pytest.raises(Unauthenticated):
            Keys([], required=True).identify(given)


def test_no_key_at_all_is_not_the_hash_of_an_empty_one():
    with pytest.raises(Unauthenticated):
        Keys([Key("empty", digest(""))], required=True).identify("")


def test_an_expired_key_is_rejected_by_name():
    soon = datetime.now(UTC) + timedelta(hours=1)
    keys = [Key("old", digest("a"), expires=soon - timedelta(hours=2)), Key("new", digest("b"), expires=soon)]
    assert name_of(Keys(keys, required=True), "b") == "new"
    with pytest.raises(Unauthenticated, match="the key old has expired"):
        Keys(keys, required=True).identify("a")


def test_a_key_allows_its_scopes_and_no_other():
    key = Key("team", digest("a"), ("infer",))
    check_scope(key, "infer")
    with pytest.raises(Forbidden, match="the key team has no scope control; it has infer"):
        check_scope(key, "control")


@pytest.mark.parametrize("scope", SCOPES)
def test_keys_of_the_setting_and_callers_without_need_of_one_may_do_everything(scope):
    check_scope(keys_of("secret").identify("secret"), scope)
    check_scope(None, scope)


def test_keys_that_share_a_name_or_a_hash_are_found():
    assert repeated([Key("a", digest("1")), Key("b", digest("2"))]) == ""
    assert repeated([Key("a", digest("1")), Key("a", digest("2"))]) == "a"
    assert repeated([Key("a", digest("1")), Key("b", digest("1"))]) == "a"
