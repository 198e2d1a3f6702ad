"""Reduce the output of a network on the device, before it is copied to the host.

This package holds one file per reduction and the table of reductions. It must not render or scale results on the host,
and on a GPU it must not wait for the device: the whole batch is downloaded at once, later.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from twins.runtime.reduce import features, masks, top_k
from twins.tasks.sample import Sample


@dataclass(frozen=True)
class Reduction:
    """The method of the network and the reduction that give the outputs of a task."""

    reduce: Callable[[Tensor, Sequence[Sample]], list[tuple[Tensor, ...]]]  # the batch's output to arrays per sample
    method: str = "__call__"  # the network's method whose output is reduced


REDUCTIONS: Mapping[str, Reduction] = {
    "classify": Reduction(top_k.reduce),
    "segment": Reduction(masks.reduce),
    "embed": Reduction(features.reduce, method="pooled"),
}
"""By the task's name."""
