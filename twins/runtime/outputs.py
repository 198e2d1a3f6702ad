"""The outputs of a batch from the arrays of its samples."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from twins.errors import NonFiniteOutput
from twins.runtime.backend import NON_FINITE
from twins.tasks.sample import Output


def outputs(
    reduced: Iterable[tuple[NDArray[np.generic], ...]], finite: Sequence[bool] | NDArray[np.generic]
) -> list[Output | NonFiniteOutput]:
    """Return an output for each sample whose logits were finite, and an error for the others."""
    return [
        Output(arrays) if good else NonFiniteOutput(NON_FINITE) for arrays, good in zip(reduced, finite, strict=True)
    ]
