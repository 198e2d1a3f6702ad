"""The detections of an image: boxes with classes and scores, and the masks of the objects in them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from twins.card import Label
from twins.tasks.strips import strips

INSIDE = 0.5  # the least probability of a pixel of a mask
SMALLEST = 1e-6  # pixels: the side of a box that has none

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels of the image


@dataclass(frozen=True)
class InstanceMask:
    """The pixels of one object: those of a part of the image."""

    pixels: NDArray[np.bool_]  # (height, width) of the part
    left: int
    top: int

    @property
    def count(self) -> int:
        """Return the number of pixels that belong to the object."""
        return int(np.count_nonzero(self.pixels))


@dataclass(frozen=True)
class Detection:
    """One object."""

    class_id: int
    label: str
    score: float
    box: Box
    probabilities: NDArray[np.float32] | None = None  # (28, 28) over the box; None if the model has no masks

    def mask(self, size: tuple[int, int]) -> InstanceMask | None:
        """Return the pixels of the object in an image of `size` (height, width), or None if the model has no masks.

        Only the part of the image that the box covers is computed, and nothing is kept: all masks of a large image
        together would take gigabytes.
        """
        return None if self.probabilities is None else paste(self.probabilities, self.box, size)


@dataclass(frozen=True)
class DetectionResult:
    """The detections of one image, best first."""

    detections: tuple[Detection, ...]
    size: tuple[int, int]  # (height, width) of the image
    labels: tuple[Label, ...]

    @cached_property
    def array(self) -> NDArray[np.float32]:
        """Return a row for each detection, N 6: left, top, right, bottom, score, class id."""
        rows = [(*each.box, each.score, each.class_id) for each in self.detections]
        return np.array(rows, np.float32).reshape(-1, 6)


def paste(probabilities: NDArray[np.float32], box: Box, size: tuple[int, int]) -> InstanceMask:
    """Return the pixels in which a mask over a box is at least `INSIDE`, as mmdetection pastes it.

    A pixel has the value at its centre, interpolated bilinearly, and the mask is zero outside of the box. A value
    there is below `INSIDE`, so that the pixels around the box need not be computed.
    """
    height, width = size
    left, right = covered(box[0], box[2], width)
    top, bottom = covered(box[1], box[3], height)
    across = probabilities @ weights(box[0], box[2], range(left, right), probabilities.shape[1]).T
    down = weights(box[1], box[3], range(top, bottom), probabilities.shape[0])
    pixels = np.empty((len(down), across.shape[1]), bool)
    for rows in strips(*pixels.shape):
        pixels[rows] = down[rows] @ across >= INSIDE
    return InstanceMask(pixels, left, top)


def covered(start: float, end: float, most: int) -> tuple[int, int]:
    """Return the first pixel that a side of a box touches, and the one after the last: at least one of `most`."""
    first = min(max(0, int(np.floor(start))), most - 1)
    return first, max(first + 1, min(most, int(np.ceil(end))))


def weights(start: float, end: float, pixels: range, count: int) -> NDArray[np.float32]:
    """Return the share of each of `count` values, evenly spaced from `start` to `end`, in each pixel: pixels count."""
    centres = np.arange(pixels.start, pixels.stop, dtype=np.float32) + np.float32(0.5)
    at = (centres - np.float32(start)) / np.float32(max(end - start, SMALLEST)) * count - np.float32(0.5)
    shares: NDArray[np.float32] = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(count, dtype=np.float32)))
    return shares
