"""Images and their masks, decoded once and kept in memory: `FOLDER/images/NAME.jpg` and `FOLDER/masks/NAME.png`.

A mask's pixel is its class's id; `IGNORE_INDEX` belongs to no class. The short side of large images is
reduced to `SIDE`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track

from examples.train.photos import decoded, reduced, spread
from twins.errors import DatasetError
from twins.evaluation import datasets
from twins.evaluation.datasets import SUFFIXES
from twins.images.decode import DecodedImage, ImageError

SIDE = 256  # pixels
IGNORE_INDEX = 255


@dataclass(frozen=True)
class Pairs:
    """Images, and for each a mask of the same size."""

    images: tuple[DecodedImage, ...]
    masks: tuple[Image.Image, ...]  # mode L

    def __len__(self) -> int:
        return len(self.images)


def load(folders: Sequence[Path], *, classes: int, limit: int | None = None) -> Pairs:
    """All pairs of the folders. `limit` takes that many, evenly spread.

    Raises DatasetError where there are none, and for a mask that does not fit or has more classes.
    """
    found = sorted(
        path for folder in folders for path in (folder / "images").glob("*") if path.suffix.lower() in SUFFIXES
    )
    if not found:
        raise DatasetError(f"no images in images/ under {', '.join(map(str, folders))}")
    pairs = [read(path, classes) for path in track(spread(found, limit), "reading images and masks")]
    images, masks = zip(*pairs, strict=True)
    return Pairs(images, masks)


def read(path: Path, classes: int) -> tuple[DecodedImage, Image.Image]:
    """One image and its mask, no larger than is needed. Raises DatasetError where the two do not fit."""
    image = decoded(path)
    file = path.parents[1] / "masks" / f"{path.stem}.png"
    try:
        ids = datasets.read_mask(file, (image.height, image.width), reduce_zero_label=False)
    except ImageError as error:
        raise DatasetError(str(error)) from error
    datasets.check_classes(ids, file, min(classes, IGNORE_INDEX))
    mask = Image.fromarray(np.minimum(ids, IGNORE_INDEX).astype(np.uint8))
    return reduced(image, SIDE), reduced(mask, SIDE, Image.Resampling.NEAREST)
