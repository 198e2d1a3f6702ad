"""Spans are sent by a thread, whatever the receiver does."""

import time

import pytest
from structlog.testing import capture_logs

from service.tracing.exporter import BATCH, Exporter
from tests.server import wait_until
from tests.service.tracing.senders import MemorySender, span


@pytest.fixture
def sender():
    made = MemorySender()
    yield made
    made.gate.set()


@pytest.fixture
def lost() -> list[int]:
    return []


@pytest.fixture
def exporter(sender, lost):
    return Exporter(sender, on_lost=lost.append, max_spans=20, delay_s=0.05)


def test_spans_arrive_in_order(exporter, sender):
    exporter.put(span(str(i)) for i in range(10))
    exporter.close()
    assert sender.names == [str(i) for i in range(10)]


def test_spans_that_come_soon_after_each_other_are_sent_together(exporter, sender):
    exporter.put([span("a")])
    exporter.put([span("b")])
    wait_until(lambda: sender.batches, what="a batch")
    assert [[each.name for each in batch] for batch in sender.batches] == [["a", "b"]]


def test_a_batch_has_a_bound(sender, lost):
    exporter = Exporter(sender, on_lost=lost.append)
    sender.gate.clear()
    exporter.put(span("a") for _ in range(2 * BATCH + 1))
    sender.gate.set()
    exporter.close()
    assert [len(batch) for batch in sender.batches] == [BATCH, BATCH, 1]


def test_a_receiver_that_does_not_answer_blocks_nobody_and_what_does_not_fit_is_counted(exporter, sender, lost):
    sender.gate.clear()
    exporter.put([span("first")])
    assert sender.entered.wait(30)  # the thread now waits for the receiver, with the first span
    began = time.monotonic()
    exporter.put(span(str(i)) for i in range(50))
    assert time.monotonic() - began < 0.5
    assert sum(lost) == 30
    sender.gate.set()
    exporter.close()
    assert sender.names == ["first", *(str(i) for i in range(20))]


@pytest.mark.parametrize("fault", [OSError("no route"), RuntimeError("a bug of the library")])
def test_an_error_loses_its_spans_and_no_later_ones(exporter, sender, lost, fault):
    sender.fault = fault
    exporter.put([span("a"), span("b")])
    wait_until(lambda: lost, what="the loss")
    sender.fault = None
    exporter.put([span("c")])
    exporter.close()
    assert (sum(lost), sender.names) == (2, ["c"])


def test_the_beginning_and_the_end_of_a_failure_are_a_log_line_each(exporter, sender, lost):
    with capture_logs() as lines:
        for taken in (False, False, True, True):
            sender.taken = taken
            exporter.send([span("a")])
    events = [(line["log_level"], line["event"]) for line in lines]
    assert events == [
        ("warning", "traces cannot be sent; requests go on without them"),
        ("info", "traces are sent again"),
    ]
    assert sum(lost) == 2


def test_the_end_waits_for_a_bounded_time_only(exporter, sender):
    sender.gate.clear()
    exporter.put([span("a")])
    began = time.monotonic()
    exporter.close(timeout_s=0.2)
    assert time.monotonic() - began < 2
    assert sender.closed


def test_the_end_sends_what_is_left_at_once(sender, lost):
    exporter = Exporter(sender, on_lost=lost.append, delay_s=60)
    exporter.put([span("a")])
    exporter.close()
    assert sender.names == ["a"]
