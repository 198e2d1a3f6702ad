"""The images with which a network is quantised: a sample of a folder, preprocessed as the service does it.

Legend: C channels · H W image
"""

import hashlib
import random
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twins.card import Card
from twins.errors import DatasetError
from twins.evaluation.datasets import images
from twins.images.decode import ImageError, Limits, decode
from twins.runtime.inputs import normalise
from twins.tasks import TASKS
from twins.zoo import downloads

MOST_IMAGES = 300
MOST_PIXELS = 10_000_000  # of all inputs together, since large ones take minutes and each has many positions
SEED = 0


class Calibration:
    """Images of one folder for one model. They need no labels."""

    def __init__(self, folder: Path, card: Card) -> None:
        self.folder, self.card = folder, card

    @property
    def side(self) -> int:
        """Return the sides of every input in pixels."""
        return self.card.geometry.crop or self.card.geometry.short_side

    @cached_property
    def files(self) -> list[Path]:
        """Return the sampled files, the same ones every time. Raise DatasetError if the folder has no images."""
        try:
            found = list(images(self.folder, deep=True))
        except OSError as error:
            raise DatasetError(f"--calibration {self.folder}: {error.strerror or error}") from error
        if not found:
            raise DatasetError(f"--calibration {self.folder}: the folder has no images")
        most = min(len(found), MOST_IMAGES, max(1, MOST_PIXELS // self.side**2))
        return random.Random(SEED).sample(found, most)  # noqa: S311 - not for secrets

    @cached_property
    def digest(self) -> str:
        """Return a hash of the sampled files and of all that their preprocessing depends on. Raise DatasetError."""
        card = self.card
        parts = (card.task, repr(card.geometry), repr(card.normalisation), repr(card.exif_orientation))
        text = "\n".join((*parts, *map(digest, self.files)))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def pixels(self) -> list[NDArray[np.uint8]]:
        """Return the preprocessed images, each H W C. Raise DatasetError if there is none.

        All have one size: for a model that does not crop, it is the square in the centre. Files that cannot be decoded,
        and images that are too long for that square, are left out.
        """
        prepared = map(self.prepare, self.files)
        found = [centre(each, self.side) for each in prepared if each is not None and min(each.shape[:2]) >= self.side]
        if not found:
            raise DatasetError(f"--calibration {self.folder}: none of the images can be used")
        return found

    def prepare(self, file: Path) -> NDArray[np.uint8] | None:
        """Return the preprocessed image, H W C; None if it cannot be decoded."""
        task, card = TASKS[self.card.task], self.card
        options = task.options()
        try:
            image = decode(
                file.read_bytes(),
                Limits(),
                exif_orientation=card.exif_orientation,
                smallest_size=lambda size: task.smallest_size(size, card),
            )
        except (ImageError, OSError):
            return None
        return task.preprocess(image, card, options).pixels.astype(np.uint8, copy=False)

    def normalised(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the input of the network for an image. pixels: H W C; the result: 1 C H W."""
        return normalise(pixels, self.card.normalisation)


def digest(file: Path) -> str:
    """Return the sha256 of a file; nothing if it cannot be read, since it is left out then."""
    try:
        return downloads.digest(file)
    except OSError:
        return ""


def centre(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return the square in the centre of an image, H W C."""
    top, left = ((length - side) // 2 for length in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]
