"""The segmentation mask, its regions and their statistics."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twins.card import MAX_UINT8_CLASSES, Label

Mask = NDArray[np.uint8] | NDArray[np.uint16]

STRIP_PIXELS = 2**20


@dataclass(frozen=True)
class Segmentation:
    """A class id for every pixel, or `ignore_index` where it was filtered out or its confidence is too low."""

    mask: Mask  # (height, width); uint16 from 256 classes on
    labels: tuple[Label, ...]
    confidence: NDArray[np.uint8] | None = None  # (height, width): the softmax score, 0 to 255

    @property
    def size(self) -> tuple[int, int]:
        """Return the height and width of the mask in pixels."""
        return self.mask.shape[0], self.mask.shape[1]

    @property
    def ignore_index(self) -> int:
        """Return the value of pixels without a class."""
        return ignore_index(len(self.labels))


@dataclass(frozen=True)
class Region:
    """The pixels of one class."""

    class_id: int
    label: str
    colour: str  # `#rrggbb`
    pixels: int
    share: float  # of the image's area, 0 to 1
    box: tuple[int, int, int, int]  # left, top, right, bottom in pixels; right and bottom are exclusive
    confidence: float | None = None  # mean of its pixels, 0 to 1; None if confidences were not computed


def ignore_index(classes: int) -> int:
    """Return the value of pixels without a class: 255, or 65535 in masks of two bytes a pixel."""
    return 255 if classes <= MAX_UINT8_CLASSES else 65535


def regions(found: Segmentation, palette: NDArray[np.uint8]) -> tuple[Region, ...]:
    """Return the classes that are present, largest first. `palette` comes from `twins.render.palette.colours`."""
    classes = len(found.labels)
    counts, sums = totals(found, classes)
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
            confidence=None if found.confidence is None else float(sums[i] / counts[i] / 255),
        )
        for i in present
    )


def strips(mask: Mask) -> Iterator[slice]:
    """Return slices of rows. NumPy needs 16 bytes a pixel to count a mask, so it counts one strip at a time."""
    rows = max(1, STRIP_PIXELS // mask.shape[1])
    return (slice(start, start + rows) for start in range(0, mask.shape[0], rows))


def totals(found: Segmentation, classes: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return for each class the number of its pixels and the sum of their confidences, 0 if those are not known."""
    counts, sums = np.zeros(classes, np.int64), np.zeros(classes)
    for rows in strips(found.mask):
        ids = found.mask[rows].ravel()
        counts += np.bincount(ids, minlength=classes)[:classes]
        if found.confidence is not None:
            sums += np.bincount(ids, weights=found.confidence[rows].ravel(), minlength=classes)[:classes]
    return counts, sums


def extent(mask: Mask, classes: int) -> tuple[list[int], list[int]]:
    """Return for each class its first row, and the row after its last. Values of absent classes mean nothing."""
    present = np.zeros((mask.shape[0], max(classes, int(mask.max())) + 1), bool)  # a row of the mask, a class
    for rows in strips(mask):
        block = mask[rows]
        present[rows][np.arange(block.shape[0])[:, None], block] = True
    present = present[:, :classes]
    return present.argmax(axis=0).tolist(), (mask.shape[0] - present[::-1].argmax(axis=0)).tolist()
