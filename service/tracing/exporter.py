"""Sends spans from a thread, so that a receiver that is slow or gone costs no request anything."""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Protocol

from service import logs
from service.tracing.span import Span

MAX_SPANS = 10_000  # that wait to be sent; further spans are dropped
BATCH = 500  # spans that are sent together
DELAY_S = 1.0  # that a span waits for others
CLOSE_S = 2.0  # for what is left at the end

log = logs.get()


class Sender(Protocol):
    """Sends spans to a receiver."""

    def send(self, spans: Sequence[Span]) -> bool:
        """Return whether the receiver took the spans. This may take seconds, and raise anything."""

    def close(self) -> None:
        """Give up what is being sent, and close the connection."""


class Exporter:
    """Sends spans in order. It drops spans when `max_spans` are waiting, and those that the receiver does not take."""

    def __init__(
        self,
        sender: Sender,
        *,
        on_lost: Callable[[int], None],
        max_spans: int = MAX_SPANS,
        delay_s: float = DELAY_S,
    ) -> None:
        self.sender, self.on_lost, self.delay_s = sender, on_lost, delay_s
        self.waiting: queue.Queue[Span | threading.Event] = queue.Queue(max_spans)
        self.failing = False
        threading.Thread(target=self.run, name="traces", daemon=True).start()

    def put(self, spans: Iterable[Span]) -> None:
        """Queue spans, or drop them. This never blocks and never raises."""
        lost = 0
        for span in spans:
            try:
                self.waiting.put_nowait(span)
            except queue.Full:
                lost += 1
        if lost:
            self.on_lost(lost)

    def run(self) -> None:
        """Send the spans as they come."""
        while True:
            spans, written = self.next_batch()
            if spans:
                self.send(spans)
            if written is not None:
                written.set()

    def next_batch(self) -> tuple[list[Span], threading.Event | None]:
        """Return the next spans. An event ends a batch, and is set when everything before it has been sent."""
        spans: list[Span] = []
        deadline: float | None = None
        while len(spans) < BATCH:
            left_s = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                item = self.waiting.get(timeout=left_s)
            except queue.Empty:
                break
            if isinstance(item, threading.Event):
                return spans, item
            spans.append(item)
            deadline = deadline or time.monotonic() + self.delay_s
        return spans, None

    def send(self, spans: Sequence[Span]) -> None:
        """Send spans once. Count those that are not taken, and log when that begins and when it ends."""
        detail = "the receiver does not answer"
        try:
            taken = self.sender.send(spans)
        except Exception as error:  # whatever the library raises, traces must not end the process
            taken, detail = False, str(error)
        if not taken:
            self.on_lost(len(spans))
        if self.failing == taken:  # it has changed
            self.failing = not taken
            if taken:
                log.info("traces are sent again")
            else:
                log.warning("traces cannot be sent; requests go on without them", detail=detail)

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Return when all spans so far are sent, or after `timeout_s` seconds."""
        written = threading.Event()
        with suppress(queue.Full):
            self.waiting.put(written, timeout=timeout_s)
            written.wait(timeout_s)
        self.sender.close()
