"""Load class folders into memory: `FOLDER/CLASS/*.jpg`.

Large images are reduced so that their short side is `SIDE` pixels, which is more than any crop needs.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track

from twins.errors import DatasetError
from twins.evaluation import datasets
from twins.evaluation.datasets import SUFFIXES
from twins.images.decode import DecodedImage, ImageError, Limits, decode

SIDE = 144  # pixels
NO_CLASS = -1  # the target of an image that shows none of the classes

Item = TypeVar("Item")


@dataclass(frozen=True)
class LabelledImages:
    """Images and their classes. `classes` are the sorted names of the folders."""

    images: tuple[DecodedImage, ...]
    targets: NDArray[np.int64]  # (images,), NO_CLASS for an image of something else
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    def digest(self) -> str:
        """Return a digest of the images and their order."""
        digest = hashlib.sha256()
        for image in self.images:
            digest.update(image.tobytes())
        return digest.hexdigest()[:16]


def load(
    folders: Sequence[Path], *, classes: tuple[str, ...] | None = None, limit: int | None = None
) -> LabelledImages:
    """Load all images of the folders, or `limit` of them, evenly spaced. Several folders may contain the same class.

    `classes` defaults to the names of the class folders. Raise DatasetError if there are no images, or if a class
    folder is not among `classes`.
    """
    found: Sequence[tuple[str, Path]] = sorted(
        (path.parent.name, path) for folder in folders for path in folder.glob("*/*") if path.suffix.lower() in SUFFIXES
    )
    if not found:
        raise DatasetError(f"there are no images in class folders under {', '.join(map(str, folders))}")
    names = tuple(sorted({name for name, _ in found}))
    classes = classes or names
    if others := sorted(set(names) - set(classes)):
        raise DatasetError(f"there are images of {', '.join(others)}, and the classes are {', '.join(classes)}")
    found = evenly_spaced(found, limit)
    images = tuple(read(path) for _, path in track(found, "reading images"))
    return LabelledImages(images, np.array([classes.index(name) for name, _ in found]), classes)


def with_others(labelled: LabelledImages, folders: Sequence[Path], limit: int | None = None) -> LabelledImages:
    """Return the same images and those of folders that show none of the classes: `FOLDER/*.jpg`.

    Raise DatasetError if there are none.
    """
    paths = [path for folder in folders for path in datasets.images(folder)]
    if not paths:
        raise DatasetError(f"there are no images in {', '.join(map(str, folders))}")
    others = tuple(read(path) for path in track(evenly_spaced(paths, limit), "reading images of other things"))
    targets = np.concatenate([labelled.targets, np.full(len(others), NO_CLASS)])
    return LabelledImages(labelled.images + others, targets, labelled.classes)


def evenly_spaced(found: Sequence[Item], limit: int | None) -> Sequence[Item]:
    """Return `limit` evenly spaced items, or all items."""
    if limit is None:
        return found
    return [found[i] for i in np.linspace(0, len(found) - 1, limit).astype(int)]


def read(path: Path) -> DecodedImage:
    """Load one image, reduced in size. Raise DatasetError if it cannot be decoded."""
    return reduce(open_image(path), SIDE)


def open_image(path: Path) -> DecodedImage:
    """Decode one image. Raise DatasetError with the name of the file."""
    try:
        return decode(path.read_bytes(), Limits(), exif_orientation=True).pixels
    except (ImageError, OSError) as error:
        raise DatasetError(f"{path}: {error}") from error


def reduce(image: DecodedImage, side: int, resampling: Image.Resampling = Image.Resampling.BICUBIC) -> DecodedImage:
    """Return the image with a short side of at most `side` pixels."""
    short = min(image.size)
    if short <= side:
        return image
    return image.resize([round(each * side / short) for each in image.size], resampling)
