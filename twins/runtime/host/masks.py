"""Reduce logits at a quarter of the input's size to a mask of any size, in memory of the host.

As in `twins.runtime.reduce.masks`, the logits are resized bilinearly twice, and the output is computed in strips of
rows. The strips are thin, so that they stay in the processor's cache, and only classes that can win are resized.

Legend: K classes · R rows of a strip · h w map of the logits · H W input · Y X output
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from twins.card import MAX_UINT8_CLASSES
from twins.tasks.sample import Sample
from twins.tasks.segment import SegmentParams

STRIP_VALUES = 64 * 2**10  # of one class in a strip: 256 KiB, which fits in the second cache of a core
REACH = 3  # neighbouring columns of the logits that one value of the output can depend on

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class InterpolationRows:
    """The rows of a map from which each row of a resized map is interpolated: two rows, and the share of the second."""

    upper: NDArray[np.intp]
    lower: NDArray[np.intp]
    share: Floats

    def rows(self, chosen: slice | NDArray[np.intp]) -> "InterpolationRows":
        """Return the entries of some rows of the resized map."""
        return InterpolationRows(self.upper[chosen], self.lower[chosen], self.share[chosen])


@dataclass(frozen=True)
class Rows:
    """The rows of the output, interpolated from those of the input, which are interpolated from the logits."""

    inner: InterpolationRows  # of the input's rows in the logits
    outer: InterpolationRows  # of the output's rows in the input

    def reach(self, strip: slice) -> slice:
        """Return the rows of the logits on which a strip depends."""
        here = self.outer.rows(strip)
        return slice(int(self.inner.upper[here.upper[0]]), int(self.inner.lower[here.lower[-1]]) + 1)

    def interpolate(self, logits: Floats, strip: slice) -> Floats:
        """Return a strip, still as wide as the logits, K R w. logits: K h w."""
        here = self.outer.rows(strip)
        upper, lower = blend(logits, self.inner.rows(here.upper)), blend(logits, self.inner.rows(here.lower))
        return upper + here.share[:, None] * (lower - upper)


def reduce(logits: Floats, samples: Sequence[Sample]) -> list[tuple[NDArray[np.generic], ...]]:
    """Return for each sample its mask and, if its parameters ask for them, its confidences, both of Y X.

    logits: B K h w. A mask is uint8, or uint16 from 256 classes on. A confidence is the softmax score of the pixel's
    class, 0 to 255.
    """
    return [reduce_one(each, sample) for each, sample in zip(logits, samples, strict=True)]


def reduce_one(logits: Floats, sample: Sample) -> tuple[NDArray[np.generic], ...]:
    """Return the mask of one sample, as `reduce` does. logits: K h w."""
    params = sample.params
    assert isinstance(params, SegmentParams)
    output = params.output_size or sample.input_size
    mask = np.empty(output, np.uint8 if len(logits) <= MAX_UINT8_CLASSES else np.uint16)
    confidences = np.empty(output if params.confidence else (0, 0), np.uint8)
    rows = Rows(
        interpolation_rows(logits.shape[1], sample.input_size[0]), interpolation_rows(sample.input_size[0], output[0])
    )
    count = max(1, STRIP_VALUES // max(sample.input_size[1], output[1]))
    for start in range(0, output[0], count):
        strip = slice(start, start + count)
        classes = np.arange(len(logits)) if params.confidence else candidate_classes(logits[:, rows.reach(strip)])
        if len(classes) == 1 and not params.confidence:
            mask[strip] = classes[0]
            continue
        values = widen(widen(rows.interpolate(logits[classes], strip), sample.input_size[1]), output[1])
        best = choose_best(values, classes, mask[strip])
        if params.confidence:
            confidences[strip] = confidence(values, best)
    return (mask, confidences) if params.confidence else (mask,)


def interpolation_rows(size: int, target: int) -> InterpolationRows:
    """Return the rows for a side of `size` resized to `target`, as PyTorch does without aligned corners."""
    scale = np.float32(size) / np.float32(target)
    at = ((np.arange(target, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)).clip(min=0)
    upper = at.astype(np.intp).clip(max=size - 1)
    return InterpolationRows(upper, (upper + 1).clip(max=size - 1), (at - upper).astype(np.float32))


def blend(x: Floats, here: InterpolationRows) -> Floats:
    """Return the rows that `here` describes, K R w. x: K h w."""
    upper = x[:, here.upper]
    return upper + here.share[:, None] * (x[:, here.lower] - upper)


def widen(x: Floats, width: int) -> Floats:
    """Return x resized to K R `width`. x: K R w."""
    classes, rows, columns = x.shape
    if columns == width:
        return x
    flat = np.ascontiguousarray(x).reshape(classes * rows, columns)
    wide = cv2.resize(flat, (width, classes * rows), interpolation=cv2.INTER_LINEAR)
    return cast(Floats, wide).reshape(classes, rows, width)


def candidate_classes(reached: Floats) -> NDArray[np.intp]:
    """Return the ids of the classes that can be the best one in a strip, in order. reached: K r w, its logits.

    Each value of the strip lies between the least and the greatest of a few neighbouring columns. A class whose
    greatest is everywhere below another's least need not be resized. In most images that is true of most classes.
    """
    most, least = reached.max(axis=1), reached.min(axis=1)  # K w
    reach = min(REACH, most.shape[1])
    columns = [slice(i, most.shape[1] - reach + 1 + i) for i in range(reach)]
    greatest = np.maximum.reduce([most[:, each] for each in columns])
    smallest = np.minimum.reduce([least[:, each] for each in columns])
    never_best = (greatest < smallest.max(axis=0)).all(axis=1)  # K
    return np.flatnonzero(~never_best)


def choose_best(values: Floats, classes: NDArray[np.intp], mask: NDArray[np.generic]) -> Floats:
    """Write the best class of each pixel to the mask, R X, and return its value. values: K R X.

    Of classes with equal values the first wins.
    """
    best: Floats = values[0].copy()
    mask[...] = classes[0]
    for id_, value in zip(classes[1:], values[1:], strict=True):
        np.copyto(mask, id_, where=value > best, casting="unsafe")
        np.maximum(best, value, out=best)
    return best


def confidence(values: Floats, best: Floats) -> NDArray[np.uint8]:
    """Return the softmax score of the best class, 0 to 255. values: K R X; best: their maximum."""
    shares: Floats = 255 / np.exp(values - best).sum(axis=0)
    return np.rint(shares).astype(np.uint8)
