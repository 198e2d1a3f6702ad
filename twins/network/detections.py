"""What a detector is asked for, and what it finds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from twins.card import MOST, OVERLAP, SCORE


@dataclass(frozen=True)
class Selection:
    """Which detections of one image are wanted."""

    size: tuple[int, int]  # (height, width) of the image in the input of the network, without its padding
    scale: tuple[float, float] = (1.0, 1.0)  # by which width and height of the original image were multiplied
    threshold: float = SCORE  # detections have a higher score
    overlap: float = OVERLAP  # detections of one class overlap by no more than that: intersection over union
    limit: int = MOST
    classes: Sequence[int] = ()  # none for all
    masks: bool = True  # whether a detector that has masks computes them


@dataclass(frozen=True)
class Detections:
    """The detections of one image, best first.

    Boxes are (left, top, right, bottom) in pixels of the original image. A mask covers its box: each value is the
    probability that this part of the box belongs to the object.
    """

    boxes: Tensor  # N 4, float32
    scores: Tensor  # N, float32
    classes: Tensor  # N, int64
    masks: Tensor | None = None  # N 28 28, float32; None if there are none


class Predictions(Protocol):
    """What the networks of a detector predict for a batch, before boxes are chosen."""

    def finite(self) -> Tensor:
        """Return for each image whether all values are finite, B."""
        ...

    def detections(self, selections: Sequence[Selection] | None = None) -> list[Detections]:
        """Return the detections of each image. By default the published test settings select them."""
        ...


def usual(size: tuple[int, int], count: int) -> list[Selection]:
    """Return what the published test settings select in each image of a batch. `size` is (height, width)."""
    return [Selection(size)] * count
