"""Random crops of an image. Each crop is reproducible by its number, so that the teacher's features can be cached.

Legend: B batch · S side of a crop
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from twins.images.decode import DecodedImage

Box = tuple[float, float, float, float]  # left, top, right, bottom; pixels
Areas = tuple[float, float]  # smallest and largest fraction of the image that a crop covers

AREA = (0.3, 1.0)  # fraction of the image
RATIO = (3 / 4, 4 / 3)  # width to height
ATTEMPTS = 10
CENTRE = 0.9  # fraction of the short side that the centre crop of a classifier covers
JITTER = 0.12  # fraction of the side; varies the few crops whose features are cached


def side(sizes: Sequence[tuple[float, int]], epoch: int, epochs: int) -> int:
    """Return the side of the crops in an epoch, counted from 0. `sizes`: (fraction of the epochs, side until then)."""
    return next(side for until, side in sizes if (epoch + 1) / epochs <= until)


def box(size: tuple[int, int], index: int, crop: int, seed: int, areas: Areas = AREA) -> Box:
    """Return the box of a crop of an image. The same arguments always give the same box.

    `size` is the (width, height) of the image, `areas` the smallest and largest fraction of its area.
    """
    random = np.random.default_rng((seed, crop, index))
    width, height = size
    for _ in range(ATTEMPTS):
        area = width * height * random.uniform(*areas)
        ratio = math.exp(random.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        crop_width, crop_height = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if crop_width <= width and crop_height <= height:
            left, top = random.uniform(0, width - crop_width), random.uniform(0, height - crop_height)
            return (left, top, left + crop_width, top + crop_height)
    side = min(size)
    left, top = (width - side) / 2, (height - side) / 2
    return (left, top, left + side, top + side)


def boxes(
    sizes: Iterable[tuple[int, int]], chosen: NDArray[np.int64], random: np.random.Generator, seed: int, areas: Areas
) -> list[Box]:
    """Return the box of a random crop of each chosen image. `sizes` are their (width, height)."""
    numbers = random.integers(2**31, size=len(chosen)).tolist()
    return [
        box(size, int(index), number, seed, areas) for size, index, number in zip(sizes, chosen, numbers, strict=True)
    ]


def centre(size: tuple[int, int]) -> Box:
    """Return the box that the service crops for a classifier from an image of this (width, height)."""
    side = min(size) * CENTRE
    left, top = (size[0] - side) / 2, (size[1] - side) / 2
    return (left, top, left + side, top + side)


def jitter(box: Box, size: tuple[int, int], random: np.random.Generator) -> Box:
    """Return the box with each edge moved by at most `JITTER` of the side, within the image."""
    left, top, right, bottom = box
    width, height = size
    moves = random.uniform(-JITTER, JITTER, 4) * (right - left, bottom - top, right - left, bottom - top)
    low, high = (0.0, 0.0, left + 1, top + 1), (right - 1, bottom - 1, float(width), float(height))
    left, top, right, bottom = np.clip(np.add(box, moves), low, high).tolist()
    return (left, top, right, bottom)


def stack(images: Iterable[DecodedImage], boxes: Iterable[Box], side: int) -> NDArray[np.uint8]:
    """Crop the images and resize the crops to squares: B S S 3."""
    resized = (
        image.resize((side, side), Image.Resampling.BICUBIC, box) for image, box in zip(images, boxes, strict=True)
    )
    return np.stack([np.asarray(each, np.uint8) for each in resized])


def stack_masks(masks: Iterable[Image.Image], boxes: Iterable[Box], side: int) -> NDArray[np.uint8]:
    """Crop the masks and resize the crops with nearest neighbours: B S S."""
    resized = (mask.resize((side, side), Image.Resampling.NEAREST, box) for mask, box in zip(masks, boxes, strict=True))
    return np.stack([np.asarray(each, np.uint8) for each in resized])
