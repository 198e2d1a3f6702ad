"""Segmentation: an image in, a class for every pixel out.

Preprocessing is mmsegmentation's test pipeline: as large as both bounds allow, ratio kept, bilinear as OpenCV computes
it on uint8, no padding.
"""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from twins.card import MIN_SIDE, Card, Geometry
from twins.errors import BadOption
from twins.images.decode import DecodedImage, to_array
from twins.tasks.sample import Output, Sample
from twins.tasks.segmentation import Mask, Segmentation, ignore_index


@dataclass(frozen=True)
class Options:
    """What a client may ask for."""

    size: Literal["original", "model"] = "original"  # of the mask: the image's, or the network's input's
    classes: tuple[str, ...] = ()  # the only ones to keep, by id or name; empty: all
    threshold: float = 0.0  # 0 to 1: pixels that are less sure of their class have none
    confidence: bool = False  # whether the answer tells how sure each pixel is

    def __post_init__(self) -> None:
        if self.size not in ("original", "model"):
            raise BadOption(f"size is {self.size[:40]!r}; it must be original or model")
        if not 0 <= self.threshold <= 1:
            raise BadOption(f"threshold is {self.threshold}; it must be from 0 to 1")


def check(options: Options, card: Card) -> None:
    """Raises BadOption for a class that the model does not have."""
    kept(options, card)


def preprocess(image: DecodedImage, card: Card, options: Options | None = None) -> Sample:
    """The image resized as the model's geometry says. Raises BadOption for a class that the model does not have."""
    options = options or Options()
    check(options, card)
    width, height = resized_size(image.size, card.geometry)
    pixels = cv2.resize(to_array(image), (width, height), interpolation=cv2.INTER_LINEAR)
    output_size = (image.height, image.width) if options.size == "original" else (height, width)
    return Sample(
        pixels.astype(np.uint8, copy=False), output_size, confidence=options.confidence or options.threshold > 0
    )


def postprocess(output: Output, card: Card, options: Options) -> Segmentation:
    """The mask with what the options leave of it; `output` has the mask and, if asked for, the confidences."""
    mask = np.asarray(output.arrays[0])
    confidences = np.asarray(output.arrays[1], np.uint8) if len(output.arrays) > 1 else None
    none = ignore_index(len(card.labels))
    if ids := kept(options, card):
        mask = keep(mask, ids, none)
    if options.threshold > 0 and confidences is not None:
        mask = np.where(confidences < options.threshold * 255, mask.dtype.type(none), mask)
    return Segmentation(mask, card.labels, confidences)


def kept(options: Options, card: Card) -> frozenset[int]:
    """The ids of the classes to keep; empty for all. A name that several classes share means all of them."""
    if not options.classes:
        return frozenset()
    known: dict[str, set[int]] = {}
    for i, label in enumerate(card.labels):
        for name in (str(i), label.name.lower()):
            known.setdefault(name, set()).add(i)
    ids: set[int] = set()
    for wanted in options.classes:
        if (found := known.get(wanted.strip().lower())) is None:
            raise BadOption(f"{card.name} has no class {wanted[:40]!r}; a class is given by its name or its id")
        ids |= found
    return frozenset(ids)


def keep(mask: Mask, ids: frozenset[int], none: int) -> Mask:
    """The mask with `none` for every class but these."""
    table = np.full(none + 1, none, mask.dtype)
    table[list(ids)] = list(ids)
    return table[mask]


def resized_size(size: tuple[int, int], geometry: Geometry) -> tuple[int, int]:
    """(width, height) as large as both bounds allow. A side is never below what the network can take."""
    scale = geometry.short_side / min(size)
    if geometry.long_side is not None:
        scale = min(geometry.long_side / max(size), scale)
    width, height = (max(MIN_SIDE, int(side * scale + 0.5)) for side in size)
    return width, height
