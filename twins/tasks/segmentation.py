"""A mask of classes, and what can be counted in it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twins.card import MAX_UINT8_CLASSES, Label

Mask = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True)
class Segmentation:
    """A class id for every pixel, or `ignore_index` where it was filtered out or its confidence is too low."""

    mask: Mask  # (height, width); uint16 from 256 classes on
    labels: tuple[Label, ...]
    confidence: NDArray[np.uint8] | None = None  # (height, width): the softmax score, 0 to 255

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.mask.shape[0], self.mask.shape[1]

    @property
    def ignore_index(self) -> int:
        """The value of pixels without a class: the largest there is."""
        return ignore_index(len(self.labels))


@dataclass(frozen=True)
class Region:
    """All pixels of one class."""

    class_id: int
    label: str
    colour: str  # `#rrggbb`
    pixels: int
    share: float  # of the image's area, 0 to 1
    box: tuple[int, int, int, int]  # xyxy in pixels: left, top, and right, bottom just behind the last
    confidence: float | None = None  # the mean of its pixels, 0 to 1


def ignore_index(classes: int) -> int:
    """The value of a pixel without a class in a mask of that many: 255, or 65535 where a pixel has two bytes."""
    return 255 if classes <= MAX_UINT8_CLASSES else 65535


def regions(found: Segmentation, palette: NDArray[np.uint8]) -> tuple[Region, ...]:
    """The classes that are present, largest first; `palette` as `twins.render.palette.colours` has it."""
    classes = len(found.labels)
    counts = np.bincount(found.mask.ravel(), minlength=classes)[:classes]
    sums = None
    if found.confidence is not None:
        sums = np.bincount(found.mask.ravel(), weights=found.confidence.ravel(), minlength=classes)
    left, right = extent(found.mask.T, classes)
    top, bottom = extent(found.mask, classes)
    present = sorted(np.flatnonzero(counts).tolist(), key=lambda i: -counts[i])
    return tuple(
        Region(
            class_id=i,
            label=found.labels[i].name,
            colour="#" + bytes(palette[i]).hex(),
            pixels=int(counts[i]),
            share=int(counts[i]) / found.mask.size,
            box=(left[i], top[i], right[i], bottom[i]),
            confidence=None if sums is None else float(sums[i] / counts[i] / 255),
        )
        for i in present
    )


def extent(mask: Mask, classes: int) -> tuple[list[int], list[int]]:
    """For each class its first row, and the one behind its last; only those of present classes mean anything."""
    present = np.zeros((mask.shape[0], max(classes, int(mask.max())) + 1), bool)  # a row of the mask, a class
    present[np.arange(mask.shape[0])[:, None], mask] = True
    present = present[:, :classes]
    return present.argmax(axis=0).tolist(), (mask.shape[0] - present[::-1].argmax(axis=0)).tolist()
