"""Masks in COCO's compressed run lengths."""

import numpy as np
from numpy.typing import NDArray


def lengths(counts: str) -> list[int]:
    """Return the lengths of the runs, which alternate between outside and inside, down each column.

    A length has six bits a character, of which one says that more follow. From the fourth on, the difference to the
    length two places before it is stored.
    """
    found: list[int] = []
    value = shift = 0
    for character in counts.encode():
        digit = character - 48
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        if digit & 16:
            value -= 1 << shift
        found.append(value + (found[-2] if len(found) > 2 else 0))
        value = shift = 0
    return found


def decode(counts: str, height: int, width: int) -> NDArray[np.bool_]:
    """Return the mask, (height, width)."""
    runs = lengths(counts)
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(width, height).T
