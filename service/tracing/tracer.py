"""Decides which requests are traced, and passes their spans on."""

import importlib.util
from collections.abc import Callable, Iterable

from service.setting_sources import flag_name
from service.settings import Settings, SettingsError
from service.tracing.context import TraceContext, new_span_id, new_trace_id, parse
from service.tracing.exporter import Exporter
from service.tracing.span import Span

RATIO_BITS = 64  # of a trace id, by which all services of a trace decide alike


class Tracer:
    """The traces of one process. Without an exporter it records nothing, and still reads `traceparent`."""

    def __init__(self, exporter: Exporter | None = None, ratio: float = 1.0) -> None:
        """`ratio` is the share of the requests that are traced, of those whose callers have not decided."""
        self.exporter = exporter
        self.below = round(ratio * 2**RATIO_BITS)

    def begin(self, traceparent: str | None) -> TraceContext | None:
        """Return the span of a request. Return None for one without a trace, if this process records none.

        A malformed `traceparent` is ignored.
        """
        if not traceparent and self.exporter is None:
            return None
        parent = parse(traceparent) if traceparent else None
        if parent is not None:
            sampled = parent.sampled and self.exporter is not None
            return TraceContext(parent.trace_id, new_span_id(), sampled, parent.span_id)
        return None if self.exporter is None else self.new_trace()

    def again(self, context: TraceContext | None) -> TraceContext | None:
        """Return the span of a further request over the same call: in the client's trace, or in a new one.

        A stream without a trace of its client can be endless, so its requests have a trace each.
        """
        if context is None:
            return None
        if context.parent_id:
            return TraceContext(context.trace_id, new_span_id(), context.sampled, context.parent_id)
        return self.new_trace()

    def new_trace(self) -> TraceContext:
        """Return the first span of a trace, which is recorded if its id is below the ratio."""
        trace_id = new_trace_id()
        return TraceContext(trace_id, new_span_id(), int(trace_id[-RATIO_BITS // 4 :], 16) < self.below)

    def record(self, spans: Iterable[Span]) -> None:
        """Pass spans on. This never blocks and never raises."""
        if self.exporter is not None:
            self.exporter.put(spans)

    def close(self) -> None:
        """Send what is left, for a bounded time."""
        if self.exporter is not None:
            self.exporter.close()


NO_TRACER = Tracer()
"""Records nothing."""


LIBRARIES = {
    "grpc": "opentelemetry.exporter.otlp.proto.grpc.trace_exporter",
    "http": "opentelemetry.exporter.otlp.proto.http.trace_exporter",
}
"""What sends traces, by the protocol."""


def check(settings: Settings) -> None:
    """Raise SettingsError if traces should be sent and the library for that is not installed."""
    if settings.otlp_endpoint and not is_installed(LIBRARIES[settings.otlp_protocol]):
        flag = flag_name("otlp_endpoint")
        raise SettingsError(f"{flag} needs OpenTelemetry; install it with pip install 'twins-serving[tracing]'")


def is_installed(module: str) -> bool:
    """Return whether a module can be imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # one of its packages
        return False


def open_tracer(settings: Settings, *, process: str, on_lost: Callable[[str, int], None]) -> Tracer:
    """Return the tracer of a process. `on_lost` is called with the name of the process and a number of lost spans."""
    if not settings.otlp_endpoint:
        return NO_TRACER
    from service.tracing import otlp

    sender = otlp.Sender(otlp.receiver(settings.otlp_endpoint, settings.otlp_protocol), process=process)
    return Tracer(Exporter(sender, on_lost=lambda count: on_lost(process, count)), settings.trace_ratio)
