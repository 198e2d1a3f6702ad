"""Reduce the output of a network in memory of the host, for backends that return NumPy arrays. No torch.

This package holds one file per reduction that is more than a few lines, and the table of reductions. Its results are
those of `twins.runtime.reduce`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twins.errors import NonFiniteOutput
from twins.runtime.host import masks
from twins.runtime.outputs import outputs
from twins.tasks.classify import most_classes
from twins.tasks.sample import Output, Sample

Arrays = tuple[NDArray[np.generic], ...]


@dataclass(frozen=True)
class HostReduction:
    """The method of the network and the reduction that give the outputs of a task."""

    reduce: Callable[[NDArray[np.float32], Sequence[Sample]], list[Arrays]]  # arrays per sample, in memory of their own
    method: str = "__call__"  # the network's method whose output is reduced


def top_k(logits: NDArray[np.float32], samples: Sequence[Sample]) -> list[Arrays]:
    """Return for each sample its best classes and their softmax scores, best first: k int32 and k float32.

    logits: B K. Among equal scores the lower class id comes first.
    """
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores = powers / powers.sum(axis=1, keepdims=True)
    ids = np.argsort(-scores, axis=1, kind="stable")[:, : most_classes(samples)]
    rows = np.arange(len(scores))[:, None]
    return list(zip(ids.astype(np.int32), scores[rows, ids], strict=True))


def features(found: NDArray[np.float32], _: Sequence[Sample]) -> list[Arrays]:
    """Return for each sample its features, C float32. found: B C."""
    return [(each,) for each in found.copy()]


HOST_REDUCTIONS: Mapping[str, HostReduction] = {
    "classify": HostReduction(top_k),
    "segment": HostReduction(masks.reduce),
    "embed": HostReduction(features, method="pooled"),
}
"""By the task's name."""


def outputs_on_host(
    samples: Sequence[Sample], infer: Callable[[Sequence[Sample], str], NDArray[np.float32]]
) -> list[Output | NonFiniteOutput]:
    """Return an output or an error for each sample. `infer` returns the output of a method of the network, B …."""
    reduction = HOST_REDUCTIONS[samples[0].task]
    found = infer(samples, reduction.method)
    finite = [bool(np.isfinite(each).all()) for each in found]
    with np.errstate(invalid="ignore"):  # a sample that is not finite is an error, which needs no warning beside it
        return outputs(reduction.reduce(found, samples), finite)
