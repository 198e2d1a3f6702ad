"""Spans in OpenTelemetry's form, with its exporter to memory."""

import time

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from service.tracing import otlp
from service.tracing.span import Span
from tests.otlp import HttpReceiver
from tests.service.tracing.senders import context, span


@pytest.fixture
def sent():
    """Return a function that sends spans to memory, and returns them as they are there."""

    def send(*spans: Span):
        memory = InMemorySpanExporter()
        assert otlp.Sender(memory, process="frontend-0").send(spans)
        return memory.get_finished_spans()

    return send


def test_a_span_keeps_its_name_ids_and_attributes(sent):
    own = context(parent="b7ad6b7169203331")
    (found,) = sent(Span("decode", own, 1.0, 0.5, {"size": 3}))
    assert (found.name, dict(found.attributes)) == ("decode", {"size": 3})
    assert (f"{found.context.trace_id:032x}", f"{found.context.span_id:016x}") == (own.trace_id, own.span_id)
    assert f"{found.parent.span_id:016x}" == "b7ad6b7169203331"
    assert found.parent.trace_id == found.context.trace_id


def test_the_first_span_of_a_trace_has_no_parent(sent):
    assert sent(span("a"))[0].parent is None


def test_times_are_those_of_the_wall_clock(sent):
    began, now = time.monotonic() - 3, time.time()
    (found,) = sent(Span("decode", context(), began, 0.25))
    assert found.start_time / 1e9 == pytest.approx(now - 3, abs=0.1)
    assert found.end_time - found.start_time == 250_000_000


def test_links_lead_to_their_spans(sent):
    members = (context(), context())
    (found,) = sent(Span("batch", context(), 1.0, 0.5, {}, members))
    assert [f"{link.context.span_id:016x}" for link in found.links] == [member.span_id for member in members]


def test_an_error_is_a_status_with_its_code(sent):
    (failed, fine) = sent(Span("image", context(), 1.0, 0.5, error="too_large"), span("image"))
    assert (failed.status.status_code, failed.status.description) == (StatusCode.ERROR, "too_large")
    assert fine.status.status_code is StatusCode.UNSET


def test_the_span_of_a_request_is_one_of_a_server(sent):
    (request, step) = sent(Span("classify", context(), 1.0, 0.5, kind="server"), span("admit"))
    assert (request.kind, step.kind) == (SpanKind.SERVER, SpanKind.INTERNAL)


def test_the_standard_variables_name_the_service(sent, monkeypatch):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "cats")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "team=vision")
    attributes = sent(span("a"))[0].resource.attributes
    assert (attributes["service.name"], attributes["team"], attributes["twins.process"]) == (
        "cats",
        "vision",
        "frontend-0",
    )


def test_without_variables_the_service_has_its_own_name(sent):
    assert sent(span("a"))[0].resource.attributes["service.name"] == "twins-serving"


def test_a_receiver_over_http_that_refuses_is_reported():
    with HttpReceiver(status=400) as refusing:
        assert not otlp.Sender(otlp.receiver(refusing.endpoint, "http"), process="p").send([span("a")])
    assert refusing.requests >= 1


@pytest.mark.parametrize("path", ["", "/", "/v1/traces"])
def test_an_endpoint_over_http_has_the_usual_path(path):
    with HttpReceiver() as receiver:
        assert otlp.Sender(otlp.receiver(receiver.endpoint + path, "http"), process="p").send([span("a")])
    assert [each.name for each in receiver.spans.received] == ["a"]
