"""The spans of the batches in a worker: one for each batch that has a sample of a request that is traced."""

import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from service.core.device import BatchResult
from service.tracing.context import TraceContext
from service.tracing.span import Span, Value
from service.tracing.tracer import Tracer


@dataclass
class TracedBatch:
    """A batch on its way."""

    context: TraceContext
    members: tuple[TraceContext, ...]  # the images of requests that are traced
    size: int
    began: float  # on the machine's monotonic clock, as all times
    is_recorded: bool = False


class BatchTraces:
    """Records the batches of one worker. Their span belongs to the trace of their first member, and links to all."""

    def __init__(self, tracer: Tracer) -> None:
        self.tracer = tracer
        self.waiting: dict[Hashable, TraceContext] = {}  # by the tag of a job, until its reply
        self.batches: dict[Hashable, TracedBatch] = {}  # by the tag of each of their members, until its reply

    def add(self, tag: Hashable, context: TraceContext) -> None:
        """Note a job of a request that is traced."""
        if context.sampled:
            self.waiting[tag] = context

    def starts(self, tags: Sequence[Hashable]) -> None:
        """Note that a batch starts."""
        if not self.waiting:  # as without traces
            return
        members = {tag: self.waiting[tag] for tag in tags if tag in self.waiting}
        if members:
            contexts = tuple(members.values())
            batch = TracedBatch(contexts[0].child(), contexts, len(tags), time.monotonic())
            self.batches |= dict.fromkeys(members, batch)

    def ended(self, model: str, tags: Sequence[Hashable], ran: BatchResult) -> None:
        """Record a batch that has ended, with the same times that its members and the metrics get."""
        if batch := next((self.batches[tag] for tag in tags if tag in self.batches), None):
            forward = Span("forward", batch.context.child(), ran.began, ran.took_s)
            self.record(batch, model, forward)

    def answered(self, tag: Hashable, model: str, code: str) -> str:
        """Return the span of a job's batch as `traceparent` has it, or nothing. Each job that ends is given once."""
        self.waiting.pop(tag, None)
        if (batch := self.batches.pop(tag, None)) is None:
            return ""
        if not batch.is_recorded:  # it failed, with all its members
            self.record(batch, model, code=code)
        return batch.context.header

    def record(self, batch: TracedBatch, model: str, *within: Span, code: str = "") -> None:
        """Pass on the span of a batch, and those within it."""
        batch.is_recorded = True
        took_s = time.monotonic() - batch.began
        attributes: dict[str, Value] = {"twins.model": model, "twins.batch.size": batch.size}
        self.tracer.record(
            (Span("batch", batch.context, batch.began, took_s, attributes, batch.members, code), *within)
        )
