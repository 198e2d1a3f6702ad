"""The event loop of the processes that answer requests."""

import time

import uvloop


class Loop(uvloop.Loop):
    """uvloop, with the exact time: its own clock has a resolution of a millisecond, and stands still within a step."""

    def time(self) -> float:
        """Return the time of the machine's monotonic clock in seconds."""
        return time.monotonic()
