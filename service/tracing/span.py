"""What a process knows of a step that it took."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from service.tracing.context import TraceContext

Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Span:
    """A step of a request, or a batch of several requests."""

    name: str
    context: TraceContext
    began: float  # on the machine's monotonic clock, seconds
    took_s: float
    attributes: Mapping[str, Value] = field(default_factory=dict)
    links: tuple[TraceContext, ...] = ()
    error: str = ""  # the code of an error
    kind: Literal["internal", "server"] = "internal"
