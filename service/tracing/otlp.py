"""Spans as OpenTelemetry knows them, and their way to a receiver by its protocol OTLP.

This is the only module that imports OpenTelemetry, and it is imported only if traces are sent. The library reads its
standard variables, such as OTEL_EXPORTER_OTLP_HEADERS, OTEL_EXPORTER_OTLP_CERTIFICATE and OTEL_RESOURCE_ATTRIBUTES.
"""

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from service.tracing.context import TraceContext
from service.tracing.span import Span
from twins import __version__

SERVICE = "twins-serving"
PATH = "/v1/traces"  # of a receiver over HTTP, unless the endpoint has a path of its own
NS = 1_000_000_000
SCOPE = InstrumentationScope("service.tracing", __version__)
KINDS = {"internal": SpanKind.INTERNAL, "server": SpanKind.SERVER}


def over_grpc(endpoint: str) -> SpanExporter:
    """Return what sends spans over gRPC. A thread of its own does, so this channel does not use the server's loop."""
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=endpoint)


def over_http(endpoint: str) -> SpanExporter:
    """Return what sends spans over HTTP."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=endpoint if urlsplit(endpoint).path.strip("/") else endpoint.rstrip("/") + PATH)


RECEIVERS: Mapping[str, Callable[[str], SpanExporter]] = {"grpc": over_grpc, "http": over_http}
"""What sends spans, by the protocol."""


def receiver(endpoint: str, protocol: str) -> SpanExporter:
    """Return what sends spans to a receiver."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # `Exporter` logs the beginning and the end
    return RECEIVERS[protocol](endpoint)


class Sender:
    """Sends the spans of this process."""

    def __init__(self, exporter: SpanExporter, *, process: str) -> None:
        self.exporter = exporter
        own: dict[str, str | int] = {
            "service.name": SERVICE,
            "service.version": __version__,
            "service.instance.id": f"{os.uname().nodename}/{os.getpid()}",
            "process.pid": os.getpid(),
            "twins.process": process,
        }
        self.resource = Resource(own).merge(OTELResourceDetector().detect())

    def send(self, spans: Sequence[Span]) -> bool:
        """Return whether the receiver took the spans."""
        ahead_ns = time.time_ns() - time.monotonic_ns()  # of the wall clock, which may jump: looked up for each batch
        found = [readable(span, self.resource, ahead_ns) for span in spans]
        return self.exporter.export(found) is SpanExportResult.SUCCESS

    def close(self) -> None:
        """Close the connection."""
        self.exporter.shutdown()


def readable(span: Span, resource: Resource, ahead_ns: int) -> ReadableSpan:
    """Return a span in OpenTelemetry's form. `ahead_ns` is how far Unix time is ahead of the monotonic clock."""
    context = span.context
    parent = TraceContext(context.trace_id, context.parent_id, context.sampled) if context.parent_id else None
    began_ns = round(span.began * NS) + ahead_ns
    return ReadableSpan(
        span.name,
        context=span_context(context),
        parent=span_context(parent) if parent else None,
        resource=resource,
        attributes=dict(span.attributes),
        links=[Link(span_context(link)) for link in span.links],
        kind=KINDS[span.kind],
        status=Status(StatusCode.ERROR, span.error) if span.error else Status(StatusCode.UNSET),
        start_time=began_ns,
        end_time=began_ns + round(span.took_s * NS),
        instrumentation_scope=SCOPE,
    )


def span_context(context: TraceContext) -> SpanContext:
    """Return the context of a span in OpenTelemetry's form."""
    flags = TraceFlags(TraceFlags.SAMPLED if context.sampled else TraceFlags.DEFAULT)
    return SpanContext(int(context.trace_id, 16), int(context.span_id, 16), is_remote=False, trace_flags=flags)
