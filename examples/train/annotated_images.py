"""Load images with masks and objects into memory: `FOLDER/{images,masks,instances.json}`.

The value of a mask pixel is a class id, 0 for background and `IGNORE_INDEX` for a pixel without a class.
`instances.json` has COCO's form: its categories are the other classes, an entry with `ignore` or `iscrowd` is a region
in which nothing is learnt, and an entry without `segmentation` has a box only. A folder without `instances.json` has
masks only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as rle_masks
from rich.progress import track

from examples.train import crops, pairs
from examples.train.labelled_images import evenly_spaced
from twins.errors import DatasetError
from twins.evaluation import coco, datasets
from twins.images.decode import DecodedImage

INSTANCES = "instances.json"
VISIBLE = 0.3  # fraction of an object's box that a crop must show, or the crop has no object there
SMALLEST = 5  # pixels; the shorter side of an object in a crop

Rle = dict[str, Any]


@dataclass(frozen=True)
class AnnotatedImage:
    """An image with its mask, and its objects if they are known. Boxes are left, top, right, bottom in pixels."""

    image: DecodedImage
    mask: Image.Image  # mode L, class ids
    boxes: NDArray[np.float32]  # N 4
    classes: NDArray[np.int64]  # N, 0 for the first class after the background
    instances: tuple[Rle | None, ...]  # the mask of each object
    ignored: NDArray[np.float32]  # M 4
    known: bool  # whether all objects are annotated


@dataclass(frozen=True)
class Objects:
    """The objects of a crop, in its pixels."""

    boxes: NDArray[np.float32]  # N 4
    classes: NDArray[np.int64]  # N
    masks: NDArray[np.uint8]  # N S S, 0 or 1
    has_mask: NDArray[np.bool_]  # N
    ignored: NDArray[np.float32]  # M 4
    known: bool


def load(folders: Sequence[Path], names: Sequence[str], limit: int | None = None) -> list[AnnotatedImage]:
    """Load all images of the folders, or `limit` of them, evenly spaced. `names` are the classes after the background.

    Raise DatasetError if there are none, if a mask or a category has an unknown class, or for another document.
    """
    found = [(path, entries) for folder in folders for path, entries in listed(folder, names)]
    if not found:
        raise DatasetError(f"there are no images in images/ under {', '.join(map(str, folders))}")
    chosen = evenly_spaced(found, limit)
    return [read(path, entries, len(names) + 1) for path, entries in track(chosen, "reading annotated images")]


def with_repeats(found: Sequence[AnnotatedImage], classes: int, often: float, seed: int) -> list[AnnotatedImage]:
    """Return the images with those of rare classes several times.

    An image of a class that is in a fraction f < `often` of the images is there sqrt(often / f) times on average; its
    rarest class counts. Source: "LVIS" (arXiv 1908.03195), section 6.2.
    """
    shown = np.zeros((len(found), classes), bool)
    for index, each in enumerate(found):
        shown[index, each.classes] = True
    times = np.sqrt(often / np.maximum(shown.mean(axis=0), 1 / max(1, len(found))))  # of a class
    factors = np.maximum(1, (shown * times).max(axis=1, initial=1))  # of an image
    counts = np.floor(factors + np.random.default_rng(seed).random(len(found))).astype(int)
    return [each for each, count in zip(found, counts, strict=True) for _ in range(count)]


def listed(folder: Path, names: Sequence[str]) -> list[tuple[Path, list[Rle] | None]]:
    """Return the images of a folder with their entries, which have the number of the class as `class`."""
    paths = list(datasets.images(folder / "images"))
    if not (folder / INSTANCES).exists():
        return [(path, None) for path in paths]
    document = coco.load(folder / INSTANCES).dataset
    categories = {row["id"]: row["name"] for row in document["categories"]}
    if unknown := set(categories.values()) - set(names):
        raise DatasetError(f"{folder / INSTANCES}: {sorted(unknown)[0]!r} is not among the labels")
    by_image: dict[int, list[Rle]] = {row["id"]: [] for row in document["images"]}
    for entry in document["annotations"]:
        by_image[entry["image_id"]].append({**entry, "class": names.index(categories[entry["category_id"]])})
    entries = {Path(row["file_name"]).name: by_image[row["id"]] for row in document["images"]}
    return [(path, entries.get(path.name)) for path in paths]


def read(path: Path, entries: list[Rle] | None, classes: int) -> AnnotatedImage:
    """Load one image, reduced in size. Raise DatasetError if its mask does not match it."""
    whole, whole_mask = pairs.open_pair(path, classes)
    image, mask = pairs.reduce_both(whole, whole_mask)
    scale = image.width / whole.width
    objects = [each for each in entries or () if not each.get("ignore") and not each.get("iscrowd")]
    ignored = [each for each in entries or () if each.get("ignore") or each.get("iscrowd")]
    return AnnotatedImage(
        image,
        mask,
        corners(objects, scale),
        np.array([each["class"] for each in objects], np.int64),
        tuple(each.get("segmentation") or None for each in objects),
        corners(ignored, scale),
        entries is not None,
    )


def corners(entries: Sequence[Rle], scale: float) -> NDArray[np.float32]:
    """Return the boxes of entries, N 4."""
    boxes = np.array([each["bbox"] for each in entries], np.float32).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1) * np.float32(scale)


def crop(source: AnnotatedImage, box: crops.Box, side: int) -> Objects:
    """Return the objects of a crop that is resized to a square. Objects that it hardly shows are ignored there."""
    boxes, visible = moved(source.boxes, box, side)
    small = (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf) < SMALLEST
    shown = (visible >= VISIBLE) & ~small
    ignored, of_ignored = moved(source.ignored, box, side)
    masks = np.zeros((int(shown.sum()), side, side), np.uint8)
    has_mask = np.zeros(len(masks), bool)
    for number, index in enumerate(np.flatnonzero(shown)):
        if (rle := source.instances[index]) is not None:
            masks[number] = cropped(rle, source.image.width, box, side)
            has_mask[number] = True
    partly = boxes[~shown & (visible > 0)]
    left_out = np.concatenate([ignored[of_ignored > 0], partly])
    return Objects(boxes[shown], source.classes[shown], masks, has_mask, left_out, source.known)


def moved(boxes: NDArray[np.float32], box: crops.Box, side: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return boxes in pixels of a crop, N 4, and the fraction of each that it shows, N."""
    left, top, right, bottom = box
    corner = np.array([left, top, left, top], np.float32)
    scale = np.array([side / (right - left), side / (bottom - top)] * 2, np.float32)
    whole = (boxes - corner) * scale
    clipped = whole.clip(0, side)
    areas = [np.prod(each[:, 2:] - each[:, :2], axis=1) for each in (clipped, whole)]
    return clipped, areas[0] / np.maximum(areas[1], 1e-6)


def cropped(rle: Rle, width: int, box: crops.Box, side: int) -> NDArray[np.uint8]:
    """Return the mask of an object in a crop, S S. `width` is that of the image in which the crop's box is given."""
    mask = Image.fromarray(rle_masks.decode(rle))
    scale = mask.width / width
    left, top, right, bottom = (min(edge * scale, most) for edge, most in zip(box, mask.size * 2, strict=True))
    return np.asarray(mask.resize((side, side), Image.Resampling.NEAREST, (left, top, right, bottom)))


def mirrored(objects: Objects, side: int) -> Objects:
    """Return the objects of the mirrored crop."""
    return Objects(
        flipped(objects.boxes, side),
        objects.classes,
        np.ascontiguousarray(objects.masks[:, :, ::-1]),
        objects.has_mask,
        flipped(objects.ignored, side),
        objects.known,
    )


def flipped(boxes: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Return boxes of the mirrored crop."""
    return np.stack([side - boxes[:, 2], boxes[:, 1], side - boxes[:, 0], boxes[:, 3]], axis=1)
