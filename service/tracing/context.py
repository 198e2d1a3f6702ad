"""The place of a request in a trace, as the header `traceparent` has it (W3C Trace Context).

The context of the running task is a variable, so that every log line of a request can have its trace id.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from service.random_id import random_id

VERSION = "00"
TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})(?P<span>[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?P<rest>-.*)?",
    re.ASCII,
)
SAMPLED = 1  # the flag of a trace that is recorded


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A span of a trace. Ids are in hexadecimal digits."""

    trace_id: str
    span_id: str
    sampled: bool  # whether the trace is recorded
    parent_id: str = ""  # the span that this one belongs to; empty for the first of a trace

    def child(self) -> "TraceContext":
        """Return a new span that belongs to this one."""
        return TraceContext(self.trace_id, new_span_id(), self.sampled, self.span_id)

    @property
    def header(self) -> str:
        """Return the value of `traceparent` or `traceresponse`."""
        return f"{VERSION}-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"


def parse(traceparent: str) -> TraceContext | None:
    """Return what a header says, or None if it is malformed. Later versions may have further fields at the end."""
    found = TRACEPARENT.fullmatch(traceparent)
    if found is None or (found["version"] == VERSION and found["rest"]):
        return None
    return TraceContext(found["trace"], found["span"], bool(int(found["flags"], 16) & SAMPLED))


def new_trace_id() -> str:
    """Return a random id of a trace."""
    return random_id(16)


def new_span_id() -> str:
    """Return a random id of a span."""
    return random_id(8)


CURRENT: ContextVar[TraceContext | None] = ContextVar("CURRENT", default=None)
"""The span of the running task, or None."""


@contextmanager
def within(context: TraceContext | None) -> Iterator[None]:
    """Make a span the current one during the block."""
    before = CURRENT.get()
    CURRENT.set(context)
    try:
        yield
    finally:
        CURRENT.set(before)  # not by a token, which only the same context can take
