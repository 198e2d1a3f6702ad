"""What a recording worker wrote of its batches, and the service times and waits that follow."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from bench.simulation.service_times import FEWEST, MeasuredTimes, measured_times


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch that ran. Times are in seconds on one clock."""

    worker: str
    arrived: Sequence[float]
    began: float
    infer_s: float

    @property
    def size(self) -> int:
        """Return the number of images."""
        return len(self.arrived)

    @property
    def ended(self) -> float:
        """Return when the device had computed it."""
        return self.began + self.infer_s


def batches(events: Iterable[Mapping[str, Any]]) -> list[Batch]:
    """Return the batches in the events of a log."""
    return [Batch(each["worker"], each["arrived"], each["began"], each["infer_s"]) for each in events]


def waits(found: Iterable[Batch]) -> list[float]:
    """Return how long each image waited for the device."""
    return [batch.began - arrived for batch in found for arrived in batch.arrived]


def in_order(found: Iterable[Batch]) -> Iterator[tuple[Batch, Batch]]:
    """Yield each batch of a worker with the next one there."""
    by_worker = defaultdict[str, list[Batch]](list)
    for batch in found:
        by_worker[batch.worker].append(batch)
    for own in by_worker.values():
        yield from pairwise(own)


def times_of(found: Sequence[Batch], others: Sequence[Batch] = (), *, max_batch: int) -> MeasuredTimes:
    """Return the service times behind some batches: those of the device, and those around each batch.

    Sizes of which there are too few are those of the `others`, such as the ones of a load with larger batches. If the
    next batch was already waiting, the device was idle between the two for what the worker does around a batch.
    If a worker was idle, an image waited only for what the worker does before one. Raise ValueError without such pairs.
    """
    gaps, starts = dict[Batch, float](), list[float]()
    for batch, after in in_order(found):
        if min(after.arrived) < batch.ended:
            gaps[batch] = after.began - batch.ended
        else:
            starts.append(after.began - min(after.arrived))
    if not gaps or not starts:
        raise ValueError("no worker was ever idle, or none ever had images waiting")
    start_s = statistics.fmean(starts)
    around_s = max(statistics.median(gaps.values()), start_s)
    durations = durations_of(found, gaps, around_s)
    for size, further in durations_of(others, {}, around_s).items():
        if len(durations.get(size, ())) < FEWEST:
            durations[size] = further
    return measured_times(durations, max_batch=max_batch, start_s=start_s)


def durations_of(found: Iterable[Batch], gaps: Mapping[Batch, float], around_s: float) -> dict[int, list[float]]:
    """Return for how long batches occupied their worker, by size; `around_s` is for those without a gap."""
    durations = defaultdict[int, list[float]](list)
    for batch in found:
        durations[batch.size].append(batch.infer_s + gaps.get(batch, around_s))
    return dict(durations)
