"""An event loop whose time passes only when everybody waits: tests of waiting take no time and have one outcome."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Returned = TypeVar("Returned")


class Stuck(AssertionError):
    """Everybody waits, and nothing is due: on real time, the test would hang."""


class SkippingSelector(selectors.DefaultSelector):
    """Never blocks: where nothing is ready, the time that it would have waited has passed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready; if it is nothing, `now` moves on by `timeout` seconds."""
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise Stuck("everybody waits for ever")
            self.now += max(0.0, timeout)
        return ready


class FakeClockLoop(asyncio.SelectorEventLoop):
    """Starts at 0 seconds. Not for work in threads or other processes, which take real time."""

    def __init__(self) -> None:
        self.skipping = SkippingSelector()
        super().__init__(self.skipping)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        """Seconds of fake time."""
        return self.skipping.now


def run(coroutine: Coroutine[Any, Any, Returned]) -> Returned:
    """Runs a coroutine on a loop with a clock of its own."""
    with asyncio.Runner(loop_factory=FakeClockLoop) as runner:
        return runner.run(coroutine)


def now() -> float:
    """The running loop's time, in seconds."""
    return asyncio.get_running_loop().time()
