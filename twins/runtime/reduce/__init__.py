"""Reduce the output of a network on the device, before it is copied to the host.

This package holds one file per reduction and the table of reductions. It must not render or scale results on the host,
and on a GPU it must not wait for the device, unless what it keeps depends on values: the whole batch is downloaded at
once, later.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from twins.runtime.reduce import detections, features, masks, top_k
from twins.tasks.sample import Sample


def all_finite(output: Tensor) -> Tensor:
    """Return for each sample whether its output has neither infinite values nor NaN, B. output: B …."""
    return output.isfinite().flatten(1).all(dim=1)


@dataclass(frozen=True)
class Reduction:
    """The method of the network and the reduction that give the outputs of a task."""

    reduce: Callable[[Any, Sequence[Sample]], list[tuple[Tensor, ...]]]  # the batch's output to arrays per sample
    method: str = "__call__"  # the network's method whose output is reduced
    finite: Callable[[Any], Tensor] = all_finite  # whether the output of each sample has finite values only, B
    one_tensor: bool = True  # whether the output is one tensor, so that the method can be compiled and recorded


REDUCTIONS: Mapping[str, Reduction] = {
    "classify": Reduction(top_k.reduce),
    "segment": Reduction(masks.reduce),
    "detect": Reduction(detections.reduce, finite=lambda predictions: predictions.finite(), one_tensor=False),
    "embed": Reduction(features.reduce, method="pooled"),
}
"""By the task's name."""
