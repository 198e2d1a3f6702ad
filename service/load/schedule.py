"""When requests are sent: as soon as a client is free, or at random times of a given rate."""

import random
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Closed:
    """Each of `clients` sends its next request when it has read its last answer."""

    clients: int


@dataclass(frozen=True)
class Open:
    """Requests are due at random times, `rate` a second on average, however slowly the service answers.

    The intervals are exponential, as those of independent users (a Poisson process).
    """

    rate: float  # requests per second
    seed: int = 0

    def due_times(self) -> Iterator[float]:
        """Yield the seconds after the start at which requests are due, without end. One seed gives one sequence."""
        source = random.Random(self.seed)  # noqa: S311 - it protects nothing
        due = 0.0
        while True:
            due += source.expovariate(self.rate)
            yield due


Schedule = Closed | Open
