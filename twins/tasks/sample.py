"""What passes between a task and a backend."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Params:
    """Base of a task's own parameters of one sample: what its reduction on the device needs to know."""

    task: ClassVar[str]


@dataclass(frozen=True)
class Sample:
    """One image at the network's input geometry, with the parameters of the task that it is for."""

    pixels: NDArray[np.uint8]  # (height, width, 3), RGB
    params: Params

    @property
    def task(self) -> str:
        """The name of the task that the sample is for."""
        return self.params.task

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the network's input."""
        return self.pixels.shape[0], self.pixels.shape[1]


@dataclass(frozen=True)
class Output:
    """The reduced output of one sample: the arrays that the task's `postprocess` expects."""

    arrays: tuple[NDArray[np.generic], ...]
