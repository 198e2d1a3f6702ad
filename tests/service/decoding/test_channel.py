"""What a frontend accepts from a decoder process, in which a damaged image may have run any code."""

import socket
from collections.abc import Iterator

import msgspec
import pytest

from service.decoding.channel import ANY_REPLY, LENGTH, MAX_HEADER_BYTES, BadReply, Channel, Done
from tests.service.decoding.test_decoder_pool import preparation
from twins.images.decode import Limits

PARAMS = b"\x81\xa5top_k\x05"  # of a classification


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Channel(ours), Channel(theirs)


@pytest.mark.parametrize(
    "sent",
    [
        LENGTH.pack(MAX_HEADER_BYTES + 1),
        LENGTH.pack(3) + b"abc",
        LENGTH.pack(1) + b"\x80",
        LENGTH.pack(0),
    ],
    ids=["too large", "no msgpack", "no type", "empty"],
)
def test_a_header_of_another_form_is_refused(ends, sent):
    ours, theirs = ends
    theirs.send_bytes(sent)
    with pytest.raises(BadReply):
        ours.receive(ANY_REPLY)


def test_a_header_of_another_type_is_refused(ends):
    ours, theirs = ends
    theirs.send(Done("high", 1, b"", None, 0.0))
    with pytest.raises(BadReply):
        ours.receive(ANY_REPLY)


@pytest.mark.parametrize(
    ("done", "shown"),
    [
        (Done(0, 5, PARAMS, None, 0.0), False),
        (Done(-1, -5, PARAMS, None, 0.0), False),
        (Done(100_000, 100_000, PARAMS, None, 0.0), False),
        (Done(1, 1, PARAMS, (1, 1), 0.0), False),
        (Done(1, 1, PARAMS, None, 0.0), True),
        (Done(1, 1, PARAMS, (20, 20), 0.0), True),
        (Done(1, 1, PARAMS, (-1, -1), 0.0), True),
        (Done(1, 1, b"\xc1", None, 0.0), False),
        (Done(1, 1, PARAMS, None, -1.0), False),
        (Done(1, 1, PARAMS, None, float("nan")), False),
    ],
    ids=[
        "no height",
        "negative",
        "huge",
        "unasked",
        "no image",
        "huge image",
        "negative image",
        "no parameters",
        "negative time",
        "no time",
    ],
)
def test_a_sample_that_is_not_what_was_asked_for_is_refused(ends, done, shown):
    ours, theirs = ends
    theirs.send_bytes(bytes(3))
    with pytest.raises(BadReply):
        ours.receive_prepared(done, preparation(shown=shown, limits=Limits(max_pixels=300)))


def test_a_process_that_sends_nothing_is_waited_for_until_the_time_limit(ends):
    ours, theirs = ends
    theirs.send_bytes(LENGTH.pack(10))
    ours.limit(0.01)
    with pytest.raises(TimeoutError):
        ours.receive(ANY_REPLY)


def test_a_process_that_takes_nothing_is_waited_for_until_the_time_limit(ends):
    ours, _ = ends
    ours.limit(0.01)
    with pytest.raises(TimeoutError):
        ours.send_bytes(bytes(2**23))


def test_the_end_of_the_other_process_is_an_error(ends):
    ours, theirs = ends
    theirs.connection.close()
    with pytest.raises(EOFError):
        ours.receive(ANY_REPLY)


def test_parameters_are_those_of_the_task(ends):
    ours, theirs = ends
    theirs.send_bytes(bytes(3))
    found = ours.receive_prepared(Done(1, 1, PARAMS, None, 0.0), preparation())
    assert msgspec.to_builtins(found.sample.params) == {"top_k": 5}
