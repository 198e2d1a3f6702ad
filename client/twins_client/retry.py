"""When a request is sent again."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from twins_client.errors import TwinsError

Result = TypeVar("Result")

MOMENTARY = {"overloaded", "unavailable", "refused", "unreachable"}
"""The codes of errors after which the same request may succeed."""


@dataclass(frozen=True)
class Retry:
    """How often and when a request is sent again: only after errors that may pass, and only until the deadline."""

    attempts: int = 4  # with the first one
    first_wait_s: float = 0.2  # doubled for each further one, unless the service says how long to wait
    longest_wait_s: float = 10.0

    def wait_s(self, attempt: int, error: TwinsError, left_s: float) -> float | None:
        """Return the seconds until the next attempt; None if there is none. `attempt` counts from 1."""
        if error.code not in MOMENTARY or attempt >= self.attempts:
            return None
        if error.retry_after is not None:
            wait = error.retry_after
        else:
            wait = min(self.longest_wait_s, self.first_wait_s * 2 ** (attempt - 1)) * random.uniform(0.5, 1)  # noqa: S311
        return wait if wait < left_s else None


@dataclass(frozen=True)
class Deadline:
    """The time until which a call has to be answered, with all its attempts."""

    seconds: float
    started: float = field(default_factory=time.monotonic)

    def left_s(self) -> float:
        """Return the seconds that are left. Raise TwinsError if there are none."""
        left = self.started + self.seconds - time.monotonic()
        if left <= 0:
            raise TwinsError("deadline_exceeded", f"no answer within {self.seconds:g} s")
        return left


def repeated(once: Callable[[float], Result], retry: Retry, limit_s: float) -> Result:
    """Return the result of a call, with as many attempts as it takes; each gets the seconds that are left."""
    deadline, attempt = Deadline(limit_s), 1
    while True:
        try:
            return once(deadline.left_s())
        except TwinsError as error:
            if (wait_s := retry.wait_s(attempt, error, deadline.left_s())) is None:
                raise
        time.sleep(wait_s)
        attempt += 1


async def repeated_async(once: Callable[[float], Awaitable[Result]], retry: Retry, limit_s: float) -> Result:
    """Return the result of a call, with as many attempts as it takes; each gets the seconds that are left."""
    deadline, attempt = Deadline(limit_s), 1
    while True:
        try:
            return await once(deadline.left_s())
        except TwinsError as error:
            if (wait_s := retry.wait_s(attempt, error, deadline.left_s())) is None:
                raise
        await asyncio.sleep(wait_s)
        attempt += 1
