"""The sample and the output, which pass between a task and a backend."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Params:
    """Base of a task's own parameters of one sample: what its reduction on the device needs to know."""

    task: ClassVar[str]


Pixels = NDArray[np.uint8] | NDArray[np.float32]

Layout = tuple[str, str, tuple[int, ...]]
"""A sample's task, and the type and shape of its pixels: only samples of one layout share a batch."""


@dataclass(frozen=True)
class Sample:
    """One image at the network's input geometry, with the parameters of the task that it is for."""

    pixels: Pixels  # uint8 (height, width, 3), RGB; or float32 (3, height, width), normalised: the network's own input
    params: Params

    @property
    def task(self) -> str:
        """Return the name of the task of the sample."""
        return self.params.task

    @property
    def input_size(self) -> tuple[int, int]:
        """Return the (height, width) of the network's input."""
        height, width = self.pixels.shape[1:] if self.normalised else self.pixels.shape[:2]
        return height, width

    @property
    def normalised(self) -> bool:
        """Return whether the pixels are already normalised."""
        return self.pixels.dtype == np.float32

    @property
    def layout(self) -> Layout:
        """Return what samples must have in common to share a batch."""
        return self.task, self.pixels.dtype.str, self.pixels.shape


@dataclass(frozen=True)
class Output:
    """The reduced output of one sample: the arrays that the task's `postprocess` expects."""

    arrays: tuple[NDArray[np.generic], ...]
