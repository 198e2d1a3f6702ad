"""Views of an image: random boxes of it, each known again by its number, so that a teacher's word on one can be kept.

Legend: B batch · S side of a view
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from twins.images.decode import DecodedImage

Box = tuple[float, float, float, float]  # left, top, right, bottom; pixels

AREA = (0.3, 1.0)  # of the image
RATIO = (3 / 4, 4 / 3)  # width to height
TRIES = 10
SHAKE = 0.12  # so that a few known views are not all that a network ever sees


def side(sizes: Sequence[tuple[float, int]], epoch: int, epochs: int) -> int:
    """Of the views in an epoch, counted from 0; `sizes` says up to which share of all epochs there is which."""
    return next(side for until, side in sizes if (epoch + 1) / epochs <= until)


def box(size: tuple[int, int], index: int, view: int, seed: int, shares: tuple[float, float] = AREA) -> Box:
    """The box of the image's `view`-th view: always the same.

    `size` is the image's (width, height), `shares` the least and the largest part of its area.
    """
    random = np.random.default_rng((seed, view, index))
    width, height = size
    for _ in range(TRIES):
        area = width * height * random.uniform(*shares)
        ratio = math.exp(random.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        across, down = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if across <= width and down <= height:
            left, top = random.uniform(0, width - across), random.uniform(0, height - down)
            return (left, top, left + across, top + down)
    side = min(size)
    left, top = (width - side) / 2, (height - side) / 2
    return (left, top, left + side, top + side)


def shaken(box: Box, size: tuple[int, int], random: np.random.Generator) -> Box:
    """Nearly the same box: each edge moved by at most `SHAKE` of the side, within the image."""
    left, top, right, bottom = box
    width, height = size
    moves = random.uniform(-SHAKE, SHAKE, 4) * (right - left, bottom - top, right - left, bottom - top)
    low, high = (0.0, 0.0, left + 1, top + 1), (right - 1, bottom - 1, float(width), float(height))
    left, top, right, bottom = np.clip(np.add(box, moves), low, high).tolist()
    return (left, top, right, bottom)


def stack(images: Iterable[DecodedImage], boxes: Iterable[Box], side: int) -> NDArray[np.uint8]:
    """The boxes of the images, each resized to a square: B S S 3."""
    resized = (
        image.resize((side, side), Image.Resampling.BICUBIC, box) for image, box in zip(images, boxes, strict=True)
    )
    return np.stack([np.asarray(each, np.uint8) for each in resized])


def stack_masks(masks: Iterable[Image.Image], boxes: Iterable[Box], side: int) -> NDArray[np.uint8]:
    """The same boxes of the images' masks: B S S, ids that the masks have."""
    resized = (mask.resize((side, side), Image.Resampling.NEAREST, box) for mask, box in zip(masks, boxes, strict=True))
    return np.stack([np.asarray(each, np.uint8) for each in resized])
