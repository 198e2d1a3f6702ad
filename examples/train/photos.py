"""A folder of class folders, decoded once and kept in memory: `FOLDER/CLASS/*.jpg`.

Small images stay as they are; of large ones the short side is reduced to `SIDE` pixels, more than any crop needs.
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
from twins.evaluation.datasets import SUFFIXES
from twins.images.decode import DecodedImage, ImageError, Limits, decode

SIDE = 144  # pixels

Found = TypeVar("Found")


@dataclass(frozen=True)
class Photos:
    """Images and what they show; `classes` are the folders' names, sorted."""

    images: tuple[DecodedImage, ...]
    targets: NDArray[np.int64]  # (images,)
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    def digest(self) -> str:
        """Tells these images, in this order, from any others."""
        digest = hashlib.sha256()
        for image in self.images:
            digest.update(image.tobytes())
        return digest.hexdigest()[:16]


def load(folders: Sequence[Path], *, classes: tuple[str, ...] | None = None, limit: int | None = None) -> Photos:
    """All photos of the folders; a class may have photos in several. `limit` takes that many, evenly spread.

    The classes are those given, or the folders'. Raises DatasetError where there are no photos, or of other classes.
    """
    found: Sequence[tuple[str, Path]] = sorted(
        (path.parent.name, path) for folder in folders for path in folder.glob("*/*") if path.suffix.lower() in SUFFIXES
    )
    if not found:
        raise DatasetError(f"no images in class folders under {', '.join(map(str, folders))}")
    names = tuple(sorted({name for name, _ in found}))
    classes = classes or names
    if others := sorted(set(names) - set(classes)):
        raise DatasetError(f"photos of {', '.join(others)}, which is not among {', '.join(classes)}")
    found = spread(found, limit)
    images = tuple(read(path) for _, path in track(found, "reading photos"))
    return Photos(images, np.array([classes.index(name) for name, _ in found]), classes)


def spread(found: Sequence[Found], limit: int | None) -> Sequence[Found]:
    """So many of them, evenly spread, or all."""
    if limit is None:
        return found
    return [found[i] for i in np.linspace(0, len(found) - 1, limit).astype(int)]


def read(path: Path) -> DecodedImage:
    """One image, no larger than is needed. Raises DatasetError."""
    return reduced(decoded(path), SIDE)


def decoded(path: Path) -> DecodedImage:
    """One image. Raises DatasetError with the file's name."""
    try:
        return decode(path.read_bytes(), Limits(), exif_orientation=True)
    except (ImageError, OSError) as error:
        raise DatasetError(f"{path}: {error}") from error


def reduced(image: DecodedImage, side: int, resampling: Image.Resampling = Image.Resampling.BICUBIC) -> DecodedImage:
    """The image with a short side of at most that many pixels."""
    short = min(image.size)
    if short <= side:
        return image
    return image.resize([round(each * side / short) for each in image.size], resampling)
