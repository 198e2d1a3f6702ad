"""An event loop with a fake clock, which only advances when all tasks wait. Tests of waiting take no time."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Returned = TypeVar("Returned")


class Stuck(AssertionError):
    """All tasks wait and no timer is due, so the test would hang on a real clock."""


class SkippingSelector(selectors.DefaultSelector):
    """A selector that advances the fake clock instead of blocking."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready. If nothing is, advance `now` by `timeout` seconds."""
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise Stuck("all tasks wait forever")
            self.now += max(0.0, timeout)
        return ready


class FakeClockLoop(asyncio.SelectorEventLoop):
    """An event loop that starts at 0 seconds. It cannot wait for threads or processes, which take real time."""

    def __init__(self) -> None:
        self.skipping = SkippingSelector()
        super().__init__(self.skipping)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        """Return the fake time in seconds."""
        return self.skipping.now


def run(coroutine: Coroutine[Any, Any, Returned]) -> Returned:
    """Run a coroutine on a new loop with a fake clock."""
    with asyncio.Runner(loop_factory=FakeClockLoop) as runner:
        return runner.run(coroutine)


def now() -> float:
    """Return the time of the running loop in seconds."""
    return asyncio.get_running_loop().time()
