"""How long a batch occupies a worker, by its size, as it was measured."""

import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Protocol

QUANTILES = 50
FEWEST = 8  # batches of a size whose durations count


class Times(Protocol):
    """Durations of batches."""

    max_batch: int
    start_s: float  # after a batch is formed until it begins on the device

    def draw(self, size: int, source: random.Random) -> float:
        """Return how long a batch of that size occupies a worker, in seconds."""


@dataclass(frozen=True)
class MeasuredTimes:
    """Durations in seconds, of which those of a size are equally likely."""

    durations_s: tuple[tuple[float, ...], ...]  # of batches of 1, 2 and so on
    start_s: float = 0.0  # of these times, after a batch is formed until it begins on the device

    @property
    def max_batch(self) -> int:
        """Return the largest size."""
        return len(self.durations_s)

    def draw(self, size: int, source: random.Random) -> float:
        """Return how long a batch of that size occupies a worker, in seconds."""
        likely = self.durations_s[size - 1]
        return likely[int(source.random() * len(likely))]

    @cached_property
    def images_per_s(self) -> float:
        """Return the most images a second that one worker can run."""
        return max(size / statistics.fmean(likely) for size, likely in enumerate(self.durations_s, start=1))


def spread(medians_s: Sequence[float], factors: Sequence[float] = (1.0,)) -> MeasuredTimes:
    """Return service times around a median for each size."""
    return MeasuredTimes(tuple(tuple(median * factor for factor in factors) for median in medians_s))


def measured_times(durations: Mapping[int, Sequence[float]], *, max_batch: int, start_s: float = 0.0) -> MeasuredTimes:
    """Return the service times behind some durations, by the size of the batch.

    The durations of a size of which too few batches ran are those of the nearest other size, in proportion to medians
    on the lines between the known ones. Raise ValueError if there are not two sizes.
    """
    known = {size: sorted(found) for size, found in durations.items() if len(found) >= FEWEST}
    if len(known) < 2:
        raise ValueError(f"batches of two sizes are needed, and there are {sorted(known)}")
    medians = {size: statistics.median(found) for size, found in known.items()}
    likely = []
    for size in range(1, max_batch + 1):
        nearest = min(known, key=lambda other: abs(other - size))
        factor = on_lines(medians, size) / medians[nearest]
        likely.append(tuple(round(each * factor, 7) for each in quantiles(known[nearest])))
    return MeasuredTimes(tuple(likely), start_s)


def quantiles(found: Sequence[float]) -> list[float]:
    """Return as many values as there are quantiles, evenly from sorted ones."""
    return [found[int((index + 0.5) / QUANTILES * len(found))] for index in range(QUANTILES)]


def on_lines(known: Mapping[int, float], size: int) -> float:
    """Return the value at a size on the lines through the known ones."""
    pairs = list(pairwise(sorted(known)))
    low, high = next(((a, b) for a, b in pairs if size <= b), pairs[-1])
    slope = max(0.0, (known[high] - known[low]) / (high - low))
    return max(known[low] + slope * (size - low), min(known.values()) / 10)
