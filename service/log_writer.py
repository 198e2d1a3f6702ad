"""Writes log lines in a thread, so that a pipe whose reader has stopped blocks nothing but that thread."""

import os
import queue
import select
import threading
from collections.abc import Callable
from contextlib import suppress


class LogWriter:
    """Writes lines in order. It drops lines when `max_lines` are waiting, and when the descriptor is broken.

    The thread writes with `os.write` and holds no lock of Python's streams meanwhile. The process can therefore end
    while the thread is blocked.
    """

    def __init__(self, descriptor: int, *, max_lines: int, on_drop: Callable[[], None]) -> None:
        self.descriptor, self.on_drop = descriptor, on_drop
        self.lines: queue.Queue[str | threading.Event] = queue.Queue(max_lines)
        threading.Thread(target=self.run, name="log", daemon=True).start()

    def write(self, text: str) -> None:
        """Queue a line, or drop it. This never blocks and never raises."""
        try:
            self.lines.put_nowait(text)
        except queue.Full:
            self.on_drop()

    def flush(self) -> None:
        """Do nothing: each line is written as soon as it can be."""

    def wait_until_written(self, timeout_s: float) -> None:
        """Return when all lines so far are written, or after `timeout_s` seconds."""
        written = threading.Event()
        with suppress(queue.Full):
            self.lines.put(written, timeout=timeout_s)
            written.wait(timeout_s)

    def run(self) -> None:
        """Write the lines as they come."""
        while True:
            line = self.lines.get()
            if isinstance(line, threading.Event):
                line.set()
                continue
            try:
                write_all(self.descriptor, line.encode("utf-8", "backslashreplace"))
            except OSError:
                self.on_drop()


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`, and wait whenever a descriptor that does not block has no room. Raises OSError."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:  # another program that shares the descriptor has made it non-blocking
            select.select((), (descriptor,), ())
