"""Pictures and their masks, decoded once and kept in memory: `FOLDER/images/NAME.jpg` and `FOLDER/masks/NAME.png`.

A mask's pixel is its class's id; `VOID` belongs to no class. Of large pictures the short side is reduced to `SIDE`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track

from examples.train.photos import SUFFIXES, reduced
from twins.image import Limits, Picture, decode

SIDE = 256  # pixels
VOID = 255


@dataclass(frozen=True)
class Pairs:
    """Pictures, and for each a mask of the same size."""

    pictures: tuple[Picture, ...]
    masks: tuple[Image.Image, ...]  # mode L

    def __len__(self) -> int:
        return len(self.pictures)


def load(folders: Sequence[Path], *, limit: int | None = None) -> Pairs:
    """All pairs of the folders. `limit` takes that many, evenly spread. Raises ValueError where there are none."""
    found = sorted(
        path for folder in folders for path in (folder / "images").glob("*") if path.suffix.lower() in SUFFIXES
    )
    if not found:
        raise ValueError(f"no pictures in images/ under {', '.join(map(str, folders))}")
    if limit is not None:
        found = [found[i] for i in np.linspace(0, len(found) - 1, limit).astype(int)]
    pairs = [read(path) for path in track(found, "reading pictures and masks")]
    pictures, masks = zip(*pairs, strict=True)
    return Pairs(pictures, masks)


def read(path: Path) -> tuple[Picture, Image.Image]:
    """One picture and its mask, no larger than is needed. Raises ValueError where the two do not fit."""
    picture = decode(path.read_bytes(), Limits(), exif_orientation=True)
    file = path.parents[1] / "masks" / f"{path.stem}.png"
    mask = Image.open(file)
    if mask.size != picture.size or mask.mode not in ("L", "P"):
        raise ValueError(f"{file}: {mask.mode} {mask.size} is no mask of ids for a picture of {picture.size}")
    ids = Image.fromarray(np.asarray(mask))  # a palette's colours do not count
    return reduced(picture, SIDE), reduced(ids, SIDE, Image.Resampling.NEAREST)
