"""Keys that keep coming get something of their own, without a wait."""

import logging
import threading

import pytest

from tests.server import wait_until
from twins.runtime.recurring import MOST_KEYS, MOST_MADE, TIMES, Recurring


@pytest.fixture
def upper():
    with_thread = Recurring(str.upper)
    yield with_thread
    with_thread.close()


def insist(recurring, key):
    """Ask for a key until something is made for it."""
    return wait_until(lambda: recurring.find(key), timeout_s=10)


def test_a_key_gets_something_of_its_own_after_it_came_often(upper):
    assert [upper.find("a") for _ in range(TIMES - 1)] == [None] * (TIMES - 1)
    assert upper.pending is None
    assert insist(upper, "a") == "A"


def test_it_is_made_in_another_thread_while_the_key_goes_on_without():
    go_on = threading.Event()

    def make(_):
        assert go_on.wait(10)
        return threading.current_thread()

    recurring = Recurring(make)
    for _ in range(2 * TIMES):
        assert recurring.find("a") is None
    go_on.set()
    assert insist(recurring, "a") is not threading.current_thread()
    recurring.close()


def test_what_was_not_asked_for_longest_is_dropped(upper):
    keys = [chr(ord("a") + i) for i in range(MOST_MADE + 1)]
    for key in keys[:-1]:
        insist(upper, key)
    upper.find("a")
    insist(upper, keys[-1])
    assert set(upper.made) == {"a", *keys[2:]}


def test_keys_that_come_once_are_not_counted_forever(upper):
    for number in range(MOST_KEYS + 10):
        upper.find(str(number))
    assert len(upper.counts) == MOST_KEYS


def test_a_key_for_which_nothing_can_be_made_goes_on_without(caplog):
    def fail(_):
        raise MemoryError("too large")

    recurring = Recurring(fail)
    with caplog.at_level(logging.WARNING):
        wait_until(lambda: recurring.find("a") or "too large" in caplog.text, timeout_s=10)
    assert recurring.find("a") is None
    recurring.close()
