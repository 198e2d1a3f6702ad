"""How long a batch occupies a worker, by its size, as it was measured."""

import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Protocol

QUANTILES = 100
FEWEST = 3  # batches of a size whose median counts


class Times(Protocol):
    """Durations of batches."""

    max_batch: int
    start_s: float  # after a batch is formed until it begins on the device

    def draw(self, size: int, source: random.Random) -> float:
        """Return how long a batch of that size occupies a worker, in seconds."""


@dataclass(frozen=True)
class MeasuredTimes:
    """Durations that are spread around a median for each size, by the same factors for all sizes."""

    medians_s: tuple[float, ...]  # of batches of 1, 2 and so on
    factors: tuple[float, ...] = (1.0,)  # equally likely
    start_s: float = 0.0  # of these times, after a batch is formed until it begins on the device

    @property
    def max_batch(self) -> int:
        """Return the largest size."""
        return len(self.medians_s)

    def draw(self, size: int, source: random.Random) -> float:
        """Return how long a batch of that size occupies a worker, in seconds."""
        return self.medians_s[size - 1] * self.factors[int(source.random() * len(self.factors))]

    def mean_s(self, size: int) -> float:
        """Return the mean time of a batch of that size."""
        return self.medians_s[size - 1] * statistics.fmean(self.factors)

    @cached_property
    def images_per_s(self) -> float:
        """Return the most images a second that one worker can run."""
        return max(size / self.mean_s(size) for size in range(1, self.max_batch + 1))


def measured_times(durations: Mapping[int, Sequence[float]], *, max_batch: int, start_s: float = 0.0) -> MeasuredTimes:
    """Return the service times behind some durations, by the size of the batch.

    Sizes of which too few batches ran lie on the line between their neighbours, and beyond them on the last line.
    Raise ValueError if there are not two sizes.
    """
    known = {size: statistics.median(found) for size, found in durations.items() if len(found) >= FEWEST}
    if len(known) < 2:
        raise ValueError(f"batches of two sizes are needed, and there are {sorted(known)}")
    medians = tuple(on_lines(known, size) for size in range(1, max_batch + 1))
    ratios = sorted(each / medians[size - 1] for size, found in durations.items() for each in found)
    places = ((index + 0.5) / QUANTILES for index in range(QUANTILES))
    return MeasuredTimes(medians, tuple(ratios[int(place * len(ratios))] for place in places), start_s)


def on_lines(known: Mapping[int, float], size: int) -> float:
    """Return the value at a size on the lines through the known ones."""
    pairs = list(pairwise(sorted(known)))
    low, high = next(((a, b) for a, b in pairs if size <= b), pairs[-1])
    slope = max(0.0, (known[high] - known[low]) / (high - low))
    return max(known[low] + slope * (size - low), min(known.values()) / 10)
