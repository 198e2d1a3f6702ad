"""The spans of batches in a worker. `test_worker` has the way of a trace over real sockets."""

import pytest

from service.core.device import BatchResult
from service.processes.batch_traces import BatchTraces
from service.tracing.tracer import Tracer
from tests.service.core.test_engine_traces import Kept
from tests.service.tracing.senders import context

RAN = BatchResult((), began=5.0, took_s=0.5)


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def traces(kept) -> BatchTraces:
    return BatchTraces(Tracer(kept))


def test_a_batch_belongs_to_its_first_member_and_links_to_all(traces, kept):
    members = [context(), context()]
    for tag, member in enumerate(members):
        traces.add(tag, member)
    traces.starts([0, 1, 2])
    traces.ended("nano", [0, 1, 2], RAN)
    batch, forward = kept.spans
    assert (batch.context.trace_id, batch.context.parent_id) == (members[0].trace_id, members[0].span_id)
    assert batch.links == tuple(members)
    assert batch.attributes == {"twins.model": "nano", "twins.batch.size": 3}
    assert (forward.began, forward.took_s, forward.context.parent_id) == (5.0, 0.5, batch.context.span_id)


def test_each_member_learns_the_span_of_its_batch(traces, kept):
    for tag in (0, 1):
        traces.add(tag, context())
    traces.starts([0, 1])
    traces.ended("nano", [0, 1], RAN)
    answered = [traces.answered(tag, "nano", "") for tag in (0, 1, 2)]
    assert answered == [kept.spans[0].context.header] * 2 + [""]


def test_a_batch_without_a_member_that_is_sampled_has_no_span(traces, kept):
    traces.add(0, context(sampled=False))
    traces.starts([0])
    traces.ended("nano", [0], RAN)
    assert (traces.answered(0, "nano", ""), kept.spans) == ("", [])


def test_a_batch_that_fails_has_one_span_with_the_error(traces, kept):
    for tag in (0, 1):
        traces.add(tag, context())
    traces.starts([0, 1])
    for tag in (0, 1):
        traces.answered(tag, "nano", "internal")
    assert [(span.name, span.error) for span in kept.spans] == [("batch", "internal")]


def test_nothing_is_kept_of_jobs_that_have_ended(traces):
    for tag in range(4):
        traces.add(tag, context())
    traces.starts([0, 1])
    for tag in range(4):
        traces.answered(tag, "nano", "cancelled")
    assert (traces.waiting, traces.batches) == ({}, {})
