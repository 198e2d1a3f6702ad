"""Workers that stand still for a while."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from tests.server import Server


@contextmanager
def stopped(server: Server) -> Iterator[None]:
    """Stop the worker, so that the service keeps the images that it accepts."""
    worker = psutil.Process(server.pid("worker-0"))
    worker.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        worker.send_signal(signal.SIGCONT)
