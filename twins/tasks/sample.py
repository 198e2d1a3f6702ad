"""What passes between a task and a runner."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sample:
    """One picture at the network's input geometry."""

    pixels: NDArray[np.uint8]  # (height, width, 3), RGB


@dataclass(frozen=True)
class Output:
    """What the device made of one sample, reduced: the arrays that the task's `postprocess` expects."""

    arrays: tuple[NDArray[np.generic], ...]
