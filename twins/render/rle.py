"""Masks as run lengths in COCO's compressed form, which pycocotools reads.

Runs go down the columns, and the first one is outside the class. From the fourth run on, the difference to the length
of the run two before is stored instead of the length. Numbers are written in groups of five bits, lowest first, as
characters from "0" on.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twins.tasks.detection import InstanceMask
from twins.tasks.segmentation import Segmentation

Runs = NDArray[np.int64]

GROUP, MORE, SIGN, ZERO = 5, 0x20, 0x10, 48  # bits, flag of a group that is not the last, its sign bit, first character


@dataclass(frozen=True)
class Rle:
    """The pixels of one class."""

    size: tuple[int, int]  # (height, width)
    counts: str


def encode(found: Segmentation) -> dict[int, Rle]:
    """Return the run lengths of each class that is present, by class id."""
    flat = found.mask.T.ravel()
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    ends, values = np.append(starts[1:], flat.size), flat[starts]
    order = np.argsort(values, kind="stable")
    present, first = np.unique(values[order], return_index=True)
    groups = zip(present.tolist(), np.split(order, first[1:]), strict=True)
    return {
        class_id: Rle(found.size, compress(counts(starts[runs], ends[runs], flat.size)))
        for class_id, runs in groups
        if class_id != found.ignore_index
    }


def encode_instance(mask: InstanceMask, size: tuple[int, int]) -> Rle:
    """Return the run lengths of one object in an image of `size` (height, width), from its part of the image alone."""
    height, width = size
    rows, columns = mask.pixels.shape
    block = np.zeros((columns, min(rows + 1, height)), np.int8)  # the row below keeps runs within their column
    block[:, :rows] = mask.pixels.T
    edges = np.flatnonzero(np.diff(block.ravel(), prepend=0, append=0))
    column, row = np.divmod(np.stack([edges[::2], edges[1::2] - 1]), block.shape[1])  # first and last of each run
    first, last = (mask.left + column) * height + mask.top + row
    return Rle(size, compress(counts(first, last + 1, height * width)))


def counts(starts: Runs, ends: Runs, total: int) -> Runs:
    """Return the lengths of the runs outside and inside in turn; `starts` and `ends` are those of the runs inside."""
    edges = np.empty(2 * len(starts) + 1, np.int64)
    edges[0:-1:2], edges[1::2], edges[-1] = starts, ends, total
    lengths = np.diff(edges, prepend=0)
    return lengths if lengths[-1] else lengths[:-1]


def compress(lengths: Runs) -> str:
    """Return COCO's characters for run lengths."""
    rest = lengths.copy()
    rest[3:] -= lengths[1:-2]
    groups, unfinished = [], [np.ones(len(rest), bool)]  # by place in the number, then by number
    while unfinished[-1].any():
        low = rest & (MORE - 1)
        rest >>= GROUP
        more = rest != np.where(low & SIGN, -1, 0)
        groups.append(low + np.where(more, MORE, 0) + ZERO)
        unfinished.append(unfinished[-1] & more)
    characters = np.stack(groups, axis=1)[np.stack(unfinished[:-1], axis=1)]
    return bytes(characters.astype(np.uint8)).decode("ascii")
