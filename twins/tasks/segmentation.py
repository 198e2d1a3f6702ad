"""The segmentation mask, its regions and their statistics."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twins.card import MAX_UINT8_CLASSES, Label
from twins.tasks.strips import strips

Mask = NDArray[np.uint8] | NDArray[np.uint16]


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
    measured = measure(found)
    present = np.flatnonzero(measured.pixels[: len(found.labels)]).tolist()
    return tuple(
        Region(
            class_id=i,
            label=found.labels[i].name,
            colour="#" + bytes(palette[i]).hex(),
            pixels=int(measured.pixels[i]),
            share=int(measured.pixels[i]) / found.mask.size,
            box=(int(measured.left[i]), int(measured.top[i]), int(measured.right[i]), int(measured.bottom[i])),
            confidence=None
            if found.confidence is None
            else int(measured.confidence[i]) / int(measured.pixels[i]) / 255,
        )
        for i in sorted(present, key=lambda i: -measured.pixels[i])
    )


@dataclass(frozen=True)
class Measures:
    """An array for each measure, by the value in the mask. The bounds of absent values mean nothing."""

    pixels: NDArray[np.int64]
    confidence: NDArray[np.int64]  # the sum over the pixels; 0 if confidences are not known
    left: NDArray[np.int64]
    top: NDArray[np.int64]
    right: NDArray[np.int64]
    bottom: NDArray[np.int64]


def measure(found: Segmentation) -> Measures:
    """Return the measures of all values. Runs of equal pixels are far fewer than pixels, and are counted instead."""
    height, width = found.size
    starts_at = (0, 0, width, height, 0, 0)
    measures = Measures(*(np.full(found.ignore_index + 1, value, np.int64) for value in starts_at))
    for rows in strips(height, width):
        block = found.mask[rows]
        starts = run_starts(block)
        ids, lengths = block.ravel()[starts], np.diff(starts, append=block.size)
        row, column = starts // width + rows.start, starts % width
        np.add.at(measures.pixels, ids, lengths)
        if found.confidence is not None:
            np.add.at(measures.confidence, ids, np.add.reduceat(found.confidence[rows].ravel(), starts, dtype=np.int64))
        np.minimum.at(measures.left, ids, column)
        np.minimum.at(measures.top, ids, row)
        np.maximum.at(measures.right, ids, column + lengths)
        np.maximum.at(measures.bottom, ids, row + 1)
    return measures


def run_starts(mask: Mask) -> NDArray[np.int64]:
    """Return where runs of equal pixels start, counted row by row. No run is longer than its row."""
    changes = np.ones(mask.shape, bool)
    np.not_equal(mask[:, 1:], mask[:, :-1], out=changes[:, 1:])
    return np.flatnonzero(changes)
