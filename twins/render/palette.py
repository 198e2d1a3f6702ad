"""Colours for classes: those of their labels, or colours that differ clearly from their neighbours'."""

import colorsys

import numpy as np
from numpy.typing import NDArray

from twins.card import Label

GOLDEN = 0.618034  # of the colour circle between two consecutive classes, so that close ids look different


def colours(labels: tuple[Label, ...]) -> NDArray[np.uint8]:
    """Return the colours of the classes, (classes, 3), RGB."""
    return np.array([colour(label, i) for i, label in enumerate(labels)], np.uint8).reshape(-1, 3)


def colour(label: Label, class_id: int) -> tuple[int, ...]:
    """Return red, green and blue of one class."""
    if label.colour:
        return tuple(bytes.fromhex(label.colour[1:]))
    lightness = (0.95, 0.75)[class_id // 8 % 2]
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(class_id * GOLDEN % 1, 0.7, lightness))
