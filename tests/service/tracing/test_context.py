"""`traceparent` is read as W3C Trace Context says, and anything else is ignored."""

import asyncio
import contextvars
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.tracing.context import CURRENT, TraceContext, new_span_id, new_trace_id, parse, within

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
VALID = f"00-{TRACE}-{SPAN}-01"
HEX = st.text(string.hexdigits.lower(), min_size=1)


def ids(size: int) -> st.SearchStrategy[str]:
    """Return ids of so many digits that are not zero alone."""
    return st.text("0123456789abcdef", min_size=size, max_size=size).filter(lambda text: set(text) != {"0"})


def test_a_header_has_a_trace_a_span_and_whether_it_is_sampled():
    assert parse(VALID) == TraceContext(TRACE, SPAN, sampled=True)


@given(ids(32), ids(16), st.booleans())
def test_what_is_written_is_read_back(trace_id, span_id, sampled):
    written = TraceContext(trace_id, span_id, sampled)
    assert parse(written.header) == written


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("ff", True)])
def test_only_the_lowest_flag_means_sampled(flags, sampled):
    assert parse(f"00-{TRACE}-{SPAN}-{flags}").sampled is sampled


@pytest.mark.parametrize("rest", ["", "-", "-later-fields", "-é"])
def test_a_later_version_may_have_further_fields(rest):
    assert parse(f"cc-{TRACE}-{SPAN}-01{rest}") == TraceContext(TRACE, SPAN, sampled=True)


MALFORMED = [
    "",
    "00",
    VALID + "-rest",
    VALID + "\n",
    " " + VALID,
    f"{VALID},{VALID}",
    f"ff-{TRACE}-{SPAN}-01",
    f"00-{'0' * 32}-{SPAN}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    f"00-{TRACE.upper()}-{SPAN}-01",
    f"00-{TRACE}-{SPAN}-1",
    f"00-{TRACE}-{SPAN}-001",
    f"0-{TRACE}-{SPAN}-01",
    f"00-{TRACE[1:]}-{SPAN}-01",
    f"00-{TRACE}0-{SPAN}-01",
    f"00-{TRACE}-{SPAN}0-01",
    f"00_{TRACE}_{SPAN}_01",
    f"cc-{TRACE}-{SPAN}-01rest",
    f"00-{'٣' * 32}-{SPAN}-01",
]


@pytest.mark.parametrize("header", MALFORMED)
def test_a_malformed_header_is_ignored(header):
    assert parse(header) is None


@given(st.text() | st.lists(HEX, min_size=3, max_size=5).map("-".join) | st.binary().map(lambda b: b.decode("latin-1")))
@example(VALID)
def test_any_text_is_read_or_ignored_and_what_is_read_is_valid(header):
    found = parse(header)
    assert found is None or parse(found.header) == found


@given(st.integers(0, len(VALID) - 1), st.characters())
def test_a_header_with_one_other_character_is_ignored_or_has_valid_ids(place, character):
    found = parse(VALID[:place] + character + VALID[place + 1 :])
    assert found is None or (len(found.trace_id), len(found.span_id)) == (32, 16)


def test_new_ids_are_valid():
    assert parse(TraceContext(new_trace_id(), new_span_id(), sampled=True).header)


def test_a_child_belongs_to_the_same_trace():
    parent = parse(VALID)
    child = parent.child()
    assert (child.trace_id, child.parent_id, child.sampled) == (TRACE, SPAN, True)
    assert child.span_id != SPAN


def test_a_block_has_its_span_and_the_one_before_returns():
    outer, inner = parse(VALID), parse(VALID).child()
    with within(outer):
        with within(inner):
            assert CURRENT.get() == inner
        assert CURRENT.get() == outer
    assert CURRENT.get() is None


async def test_tasks_do_not_see_each_others_span():
    seen = []

    async def task(context):
        with within(context):
            await asyncio.sleep(0)
            seen.append(CURRENT.get() == context)

    await asyncio.gather(*(task(parse(VALID).child()) for _ in range(5)))
    assert seen == [True] * 5


def test_a_block_that_is_left_in_another_context_raises_nothing():
    block = within(parse(VALID))
    contextvars.copy_context().run(block.__enter__)
    block.__exit__(None, None, None)
    assert CURRENT.get() is None
