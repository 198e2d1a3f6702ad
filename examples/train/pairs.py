"""Load images and their masks into memory: `FOLDER/images/NAME.jpg` and `FOLDER/masks/NAME.png`.

The value of a mask pixel is a class id, or `IGNORE_INDEX` for a pixel without a class. Large images are reduced so that
their short side is `SIDE`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track

from examples.train.labelled_images import evenly_spaced, open_image, reduce
from twins.errors import DatasetError
from twins.evaluation import datasets
from twins.images.decode import DecodedImage, ImageError

SIDE = 256  # pixels
IGNORE_INDEX = 255


@dataclass(frozen=True)
class Pairs:
    """Images, and a mask of the same size for each of them."""

    images: tuple[DecodedImage, ...]
    masks: tuple[Image.Image, ...]  # mode L

    def __len__(self) -> int:
        return len(self.images)


def load(folders: Sequence[Path], *, classes: int, limit: int | None = None) -> Pairs:
    """Load all pairs of the folders, or `limit` of them, evenly spaced.

    Raise DatasetError if there are none, or if a mask has another size than its image or an unknown class.
    """
    found = [path for folder in folders for path in datasets.images(folder / "images")]
    if not found:
        raise DatasetError(f"there are no images in images/ under {', '.join(map(str, folders))}")
    pairs = [read(path, classes) for path in track(evenly_spaced(found, limit), "reading images and masks")]
    images, masks = zip(*pairs, strict=True)
    return Pairs(images, masks)


def read(path: Path, classes: int) -> tuple[DecodedImage, Image.Image]:
    """Load one image and its mask, reduced in size. Raise DatasetError if the mask does not match the image."""
    return reduce_both(*open_pair(path, classes))


def open_pair(path: Path, classes: int) -> tuple[DecodedImage, Image.Image]:
    """Load one image and its mask. Raise DatasetError if the mask does not match the image."""
    image = open_image(path)
    file = path.parents[1] / "masks" / f"{path.stem}.png"
    try:
        ids = datasets.read_mask(file, (image.height, image.width), reduce_zero_label=False)
    except ImageError as error:
        raise DatasetError(str(error)) from error
    datasets.check_classes(ids, file, min(classes, IGNORE_INDEX))
    return image, Image.fromarray(np.minimum(ids, IGNORE_INDEX).astype(np.uint8))


def reduce_both(image: DecodedImage, mask: Image.Image) -> tuple[DecodedImage, Image.Image]:
    """Return an image and its mask with a short side of at most `SIDE` pixels."""
    return reduce(image, SIDE), reduce(mask, SIDE, Image.Resampling.NEAREST)
