"""The comparison of outputs of one network in two runtimes."""

import numpy as np
from numpy.typing import NDArray

FLOOR = 0.1
"""The least scale of a comparison, as a share of the largest value: outputs that are all alike have no deviation."""


def difference(wanted: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    """Return the largest difference of two outputs, in deviations of the wanted one.

    Values that are not finite in the wanted output do not count: where a network overflows, its samples fail one by
    one, whatever runs it. The result is not finite if `found` is not where it should be.
    """
    finite = np.isfinite(wanted)
    if not finite.any():
        return 0.0
    values = wanted[finite]
    scale = max(float(values.std()), FLOOR * float(np.abs(values).max())) or 1.0
    return float(np.abs(found[finite] - values).max()) / scale
