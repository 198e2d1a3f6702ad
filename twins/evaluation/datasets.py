"""Read the folders of labelled data sets: which images there are, and the class or mask of each.

A folder for classification has one of two layouts:
- `FOLDER/CLASS/*.jpg`, where CLASS is the synset id, the number or a name of a class (as in ImageNet's training set);
- the layout of ImageNet's validation set: images without class folders, and the class of each image in an XML file of
  the same name below `Annotations/`, or in `LOC_val_solution.csv`.

A folder for segmentation has one of the layouts in `MASK_LAYOUTS`: images, and masks of the same names.
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
LISTED = 6  # class names in a message

IGNORE_INDEX = 65535  # in a mask: the pixel has no class
UINT8_IGNORE_INDEX = 255  # the same in a file with one byte per pixel


@dataclass(frozen=True)
class LabelledImage:
    """An image and the id of its class."""

    path: Path
    class_id: int


@dataclass(frozen=True)
class MaskedImage:
    """An image and the file of its mask, which has a class id for every pixel."""

    path: Path
    mask: Path


@dataclass(frozen=True)
class MaskLayout:
    """The folders of the images and masks of a data set, and the meaning of the numbers in a mask."""

    images: str
    masks: str
    reduce_zero_label: bool  # whether 0 means no class and class ids begin at 1


MASK_LAYOUTS: tuple[MaskLayout, ...] = (
    MaskLayout("images/validation", "annotations/validation", reduce_zero_label=True),  # ADE20K, as published
    MaskLayout("images", "masks", reduce_zero_label=False),
)
"""The known layouts. The first one whose image folder exists applies."""


def labelled_images(folder: Path, card: Card) -> list[LabelledImage]:
    """Return the images with their classes, in order. Raise DatasetError if the folder has no known layout."""
    class_id = ClassNames(card)
    if folders := [child for child in sorted(folder.iterdir()) if child.is_dir() and any(images(child, deep=True))]:
        return [
            LabelledImage(path, folder_class)
            for child in folders
            for folder_class in [class_id(child.name, child)]
            for path in images(child, deep=True)
        ]
    files = list(images(folder))
    if not files:
        raise DatasetError(f"{folder}: there are no images and no class folders with images")
    find_synset = imagenet_synsets(folder)
    if find_synset is None:
        raise DatasetError(
            f"{folder}: there are no class folders, "
            "and neither Annotations/ nor LOC_val_solution.csv is beside or above this folder"
        )
    return [LabelledImage(path, class_id(find_synset(path), path)) for path in files]


class ClassNames:
    """Find the class of a model by any of its names."""

    def __init__(self, card: Card) -> None:
        self.card = card
        self.ids: dict[str, set[int]] = {}
        for i, label in enumerate(card.labels):
            names = {normalised(label.synset or ""), normalised(label.name), *map(normalised, label.name.split(","))}
            for name in names:
                self.ids.setdefault(name, set()).add(i)
        for i in range(len(card.labels)):  # a number that is also the name of a class means that class
            self.ids.setdefault(str(i), {i})

    def __call__(self, name: str, where: Path) -> int:
        """Return the id of the class of this name. Raise DatasetError if there is none, or more than one."""
        found = self.ids.get(normalised(name), set())
        if len(found) == 1:
            return next(iter(found))
        labels = self.card.labels
        listed = ", ".join(label.name for label in labels[:LISTED]) + ", …" * (len(labels) > LISTED)
        count = len(found) or "no"
        raise DatasetError(
            f"{where}: {count} classes of {self.card.name} are called {name!r}; its classes are {listed}"
        )


def normalised(name: str) -> str:
    """Return a class name in lower case, with single spaces between its words."""
    return re.sub(r"[\W_]+", " ", name.lower()).strip()


def imagenet_synsets(folder: Path) -> Callable[[Path], str] | None:
    """Return a function from an image to its synset, or None if ImageNet's files are not in or above the folder."""
    for above in (folder, *folder.parents[:4]):  # images are in ILSVRC/Data/CLS-LOC/val, the table is beside ILSVRC
        if (table := above / "LOC_val_solution.csv").is_file():
            return synsets_in_table(table)
        for annotations in (above / "Annotations" / "CLS-LOC" / folder.name, above / "Annotations" / folder.name):
            if annotations.is_dir():
                return lambda path, found=annotations: synset_in_annotation(found / f"{path.stem}.xml")  # type: ignore[misc]
    return None


def synsets_in_table(table: Path) -> Callable[[Path], str]:
    """Return a function from an image to its synset, which precedes the boxes in the row of the image."""
    try:
        with table.open(newline="") as file:
            known = {row["ImageId"]: row["PredictionString"].split()[0] for row in csv.DictReader(file)}
    except (OSError, UnicodeDecodeError, KeyError, IndexError, AttributeError) as error:
        raise DatasetError(
            f"{table}: this is not ImageNet's table with ImageId and PredictionString ({error})"
        ) from error

    def find(path: Path) -> str:
        if path.stem not in known:
            raise DatasetError(f"{path}: the image is not in {table}")
        return known[path.stem]

    return find


def synset_in_annotation(annotation: Path) -> str:
    """Return the synset of the first object in an annotation. Raise DatasetError if it has none."""
    try:
        name = ET.parse(annotation).findtext("object/name")  # noqa: S314 - current expat versions limit entity expansion
    except (OSError, ET.ParseError) as error:
        raise DatasetError(f"{annotation}: cannot read the annotation ({error})") from error
    if name is None:
        raise DatasetError(f"{annotation}: the annotation has no object")
    return name


def masked_images(folder: Path) -> tuple[MaskLayout, list[MaskedImage]]:
    """Return the layout and the images with their masks, in order. Raise DatasetError if a mask is missing."""
    layout = next((each for each in MASK_LAYOUTS if (folder / each.images).is_dir()), None)
    if layout is None:
        known = ", and no ".join(f"{each.images}/ with {each.masks}/" for each in MASK_LAYOUTS)
        raise DatasetError(f"{folder}: the folder has no {known}")
    found = [MaskedImage(path, folder / layout.masks / f"{path.stem}.png") for path in images(folder / layout.images)]
    missing = [pair.mask for pair in found if not pair.mask.is_file()]
    if not found or missing:
        problem = f"there is no mask {missing[0]} (missing masks: {len(missing)})" if missing else "there are no images"
        raise DatasetError(f"{folder / layout.images}: {problem}")
    return layout, found


def images(folder: Path, *, deep: bool = False) -> Iterator[Path]:
    """Return the images in a folder in order. If `deep`, include the images in its sub-folders."""
    names = folder.rglob("*") if deep else folder.glob("*")
    return iter(sorted(path for path in names if path.suffix.lower() in SUFFIXES and path.is_file()))


def read_mask(path: Path, size: tuple[int, ...], *, reduce_zero_label: bool) -> NDArray[np.uint16]:
    """Return the class ids of a mask of this (height, width), with IGNORE_INDEX for pixels without a class.

    If `reduce_zero_label`, 0 in the file means no class and 1 means class 0. Raise ImageError if the file cannot be
    read or has another size.
    """
    try:
        with Image.open(path) as file:
            ids = np.asarray(file)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(f"{path}: cannot read the mask ({error})") from error
    if ids.shape != size:
        raise ImageError(f"{path}: the mask is {ids.shape} and its image is {size} (height, width)")
    ignore_index = UINT8_IGNORE_INDEX if ids.dtype == np.uint8 else IGNORE_INDEX
    ids = ids.astype(np.int64)
    ids[ids == ignore_index] = IGNORE_INDEX
    if reduce_zero_label:
        ids = np.where(ids == 0, IGNORE_INDEX, ids - (ids != IGNORE_INDEX))
    return ids.astype(np.uint16)


def check_classes(ids: NDArray[np.uint16], path: Path, classes: int) -> None:
    """Raise DatasetError if a mask contains a class id that is not below `classes`."""
    known = ids[ids != IGNORE_INDEX]
    if known.size and known.max() >= classes:
        raise DatasetError(f"{path}: the mask contains class {known.max()}, and there are {classes} classes")
