"""What passes between a task and a runner."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sample:
    """One image at the network's input geometry, and what the device must know to reduce the answer."""

    pixels: NDArray[np.uint8]  # (height, width, 3), RGB
    output_size: tuple[int, int] | None = None  # (height, width) of a mask; None: as the pixels
    confidence: bool = False  # whether a mask comes with how sure each pixel is

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.pixels.shape[0], self.pixels.shape[1]


@dataclass(frozen=True)
class Output:
    """What the device made of one sample, reduced: the arrays that the task's `postprocess` expects."""

    arrays: tuple[NDArray[np.generic], ...]
