"""Request ids: which are kept, and which are replaced."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.ids import choose_id


@pytest.mark.parametrize("given_id", ["a", "3f2c-88", "trace:1.2@host/5+6=", "x" * 128])
def test_a_harmless_id_of_a_client_is_kept(given_id):
    assert choose_id(given_id) == given_id


@pytest.mark.parametrize("given_id", ["", "x" * 129, "two words", "line\nbreak", "ünïcode", "a\n", '"quoted"', "\x00"])
def test_an_id_that_could_break_a_log_is_replaced(given_id):
    assert re.fullmatch("[0-9a-f]{32}", choose_id(given_id))


def test_generated_ids_are_unique():
    assert len({choose_id("") for _ in range(1000)}) == 1000


@given(st.text())
def test_the_id_is_printable_and_short_for_any_input(given_id):
    chosen = choose_id(given_id)
    assert chosen.isascii()
    assert chosen.isprintable()
    assert 1 <= len(chosen) <= 128
