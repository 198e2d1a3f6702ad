"""Folders of images whose truth is known, as researchers have them: which file shows what.

For classification, one of
- `FOLDER/CLASS/*.jpg`, a class by its synset id, its number, or a name of it (as in ImageNet's train);
- ImageNet's own validation: images without folders, and the class of each in an XML file of the same name below
  `Annotations/`, or in `LOC_val_solution.csv`.

For segmentation, one of `PAIRS`: images beside masks of the same names.
"""

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from twins.card import Card
from twins.errors import DatasetError
from twins.images.decode import ImageError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"}
SHOWN = 6  # names in a message

IGNORE_INDEX = 65535  # in a mask: no class
UINT8_IGNORE_INDEX = 255  # the same in a file with one byte a pixel


@dataclass(frozen=True)
class Classified:
    """An image and the id of its class."""

    path: Path
    class_id: int


@dataclass(frozen=True)
class Masked:
    """An image and the file with a class id for every pixel."""

    path: Path
    mask: Path


@dataclass(frozen=True)
class PairLayout:
    """Where a data set has its images, its masks, and what a mask's numbers mean."""

    images: str
    masks: str
    zero_is_void: bool  # 0 is no class, and class ids begin at 1


PAIRS: tuple[PairLayout, ...] = (
    PairLayout("images/validation", "annotations/validation", zero_is_void=True),  # ADE20K, as published
    PairLayout("images", "masks", zero_is_void=False),
)
"""By what stands below the folder; the first that is there counts."""


def classified(folder: Path, card: Card) -> list[Classified]:
    """The images with their classes, in order. Raises DatasetError."""
    class_of = Names(card)
    if folders := [child for child in sorted(folder.iterdir()) if child.is_dir() and any(images(child, deep=True))]:
        return [
            Classified(path, class_id)
            for child in folders
            for class_id in [class_of(child.name, child)]
            for path in images(child, deep=True)
        ]
    files = list(images(folder))
    if not files:
        raise DatasetError(f"{folder}: no images, and no class folders with any")
    find = imagenet_truth(folder)
    if find is None:
        raise DatasetError(
            f"{folder}: no class folders, and neither Annotations/ nor LOC_val_solution.csv beside or above it"
        )
    return [Classified(path, class_of(find(path), path)) for path in files]


class Names:
    """A model's classes by all that they may be called."""

    def __init__(self, card: Card) -> None:
        self.card = card
        self.known: dict[str, set[int]] = {}
        for i, label in enumerate(card.labels):
            for name in {spelled(label.synset or ""), spelled(label.name), *map(spelled, label.name.split(","))}:
                self.known.setdefault(name, set()).add(i)
        for i in range(len(card.labels)):  # a number that is a class's name is that class
            self.known.setdefault(str(i), {i})

    def __call__(self, name: str, where: Path) -> int:
        """The id of the class that goes by this name. Raises DatasetError, also where several do."""
        found = self.known.get(spelled(name), set())
        if len(found) == 1:
            return next(iter(found))
        labels = self.card.labels
        some = ", ".join(label.name for label in labels[:SHOWN]) + ", …" * (len(labels) > SHOWN)
        count = len(found) or "no"
        raise DatasetError(f"{where}: {count} classes of {self.card.name} are called {name!r}; it has {some}")


def spelled(name: str) -> str:
    """A name as it is compared: small, its words apart by one space."""
    return re.sub(r"[\W_]+", " ", name.lower()).strip()


def imagenet_truth(folder: Path) -> Callable[[Path], str] | None:
    """How ImageNet's own layout tells an image's synset: looked for in the folder and in those above."""
    for above in (folder, *folder.parents[:4]):  # ILSVRC/Data/CLS-LOC/val, and the table beside ILSVRC
        if (table := above / "LOC_val_solution.csv").is_file():
            return synsets_in(table)
        for annotations in (above / "Annotations" / "CLS-LOC" / folder.name, above / "Annotations" / folder.name):
            if annotations.is_dir():
                return lambda path, found=annotations: synset_in(found / f"{path.stem}.xml")  # type: ignore[misc]
    return None


def synsets_in(table: Path) -> Callable[[Path], str]:
    """A table's answers: an image's name, then its synset with boxes behind it."""
    try:
        with table.open(newline="") as file:
            known = {row["ImageId"]: row["PredictionString"].split()[0] for row in csv.DictReader(file)}
    except (OSError, UnicodeDecodeError, KeyError, IndexError, AttributeError) as error:
        raise DatasetError(f"{table}: not ImageNet's table of ImageId and PredictionString ({error})") from error

    def find(path: Path) -> str:
        if path.stem not in known:
            raise DatasetError(f"{path}: not in {table}")
        return known[path.stem]

    return find


def synset_in(annotation: Path) -> str:
    """The synset of the first object in an annotation. Raises DatasetError."""
    try:
        name = ET.parse(annotation).findtext("object/name")  # noqa: S314 - expat of today refuses expanding entities
    except (OSError, ET.ParseError) as error:
        raise DatasetError(f"{annotation}: cannot read ({error})") from error
    if name is None:
        raise DatasetError(f"{annotation}: no object in it")
    return name


def masked(folder: Path) -> tuple[PairLayout, list[Masked]]:
    """The layout and the images with their masks, in order. Raises DatasetError."""
    layout = next((each for each in PAIRS if (folder / each.images).is_dir()), None)
    if layout is None:
        known = " or ".join(f"{each.images}/ with {each.masks}/" for each in PAIRS)
        raise DatasetError(f"{folder}: neither {known}")
    found = [Masked(path, folder / layout.masks / f"{path.stem}.png") for path in images(folder / layout.images)]
    missing = [pair.mask for pair in found if not pair.mask.is_file()]
    if not found or missing:
        problem = f"no mask {missing[0]} ({len(missing)} are missing)" if missing else "no images"
        raise DatasetError(f"{folder / layout.images}: {problem}")
    return layout, found


def images(folder: Path, *, deep: bool = False) -> Iterator[Path]:
    """The images in a folder, in order; `deep` with those of the folders in it."""
    names = folder.rglob("*") if deep else folder.glob("*")
    return iter(sorted(path for path in names if path.suffix.lower() in SUFFIXES and path.is_file()))


def read_mask(path: Path, size: tuple[int, ...], *, zero_is_void: bool) -> NDArray[np.uint16]:
    """Return the class ids of a mask of that (height, width), with IGNORE_INDEX for pixels without one.

    Raises ImageError.

    Where 0 is ignore_index, a mask's 1 is class 0.
    """
    try:
        with Image.open(path) as file:
            ids = np.asarray(file)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(f"{path}: cannot read the mask ({error})") from error
    if ids.shape != size:
        raise ImageError(f"{path}: a mask of {ids.shape} for an image of {size}, height before width")
    ignore_index = UINT8_IGNORE_INDEX if ids.dtype == np.uint8 else IGNORE_INDEX
    ids = ids.astype(np.int64)
    ids[ids == ignore_index] = IGNORE_INDEX
    if zero_is_void:
        ids = np.where(ids == 0, IGNORE_INDEX, ids - (ids != IGNORE_INDEX))
    return ids.astype(np.uint16)


def check_classes(ids: NDArray[np.uint16], path: Path, classes: int, *, said: str) -> None:
    """Raises DatasetError for a mask with more classes; `said` begins the words about how many there may be."""
    known = ids[ids != IGNORE_INDEX]
    if known.size and known.max() >= classes:
        raise DatasetError(f"{path}: class {known.max()} in a mask, and {said} {classes}")
