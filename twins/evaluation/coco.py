"""Data sets in the form of COCO, and the average precision of detections in them, as pycocotools computes it.

The folder has one file of instances, such as `annotations/instances_val2017.json`, and the images beside it: in the
folder that the file is named after (`val2017`), in `images`, or in the folder itself.
"""

import contextlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twins.card import Label
from twins.errors import BackendMissing, DatasetError
from twins.evaluation.datasets import normalised

if TYPE_CHECKING:
    from pycocotools.coco import COCO

PREFIX = "instances_"
SUMMARY = ("ap", "ap50", "ap75", "small", "medium", "large")
"""The first statistics of pycocotools, in its order."""
REQUIRED = {
    "images": {"id", "file_name"},
    "annotations": {"id", "image_id", "category_id", "bbox", "area"},
    "categories": {"id", "name"},
}
"""The fields of the entries of a file. `segmentation`, `iscrowd` and `ignore` are optional."""


@dataclass(frozen=True)
class CocoImage:
    """An image of a data set."""

    image_id: int
    path: Path


@dataclass(frozen=True)
class CocoFolder:
    """A data set."""

    truth: "COCO"
    images: tuple[CocoImage, ...]
    categories: tuple[int, ...]  # the number in the data set of each class of the model


@dataclass(frozen=True)
class Precision:
    """Average precision, from 0 to 1; -1 where the data set has no such object."""

    ap: float  # over the overlaps from 0.5 to 0.95
    ap50: float
    ap75: float
    small: float  # of objects below 32 x 32 pixels
    medium: float
    large: float  # of objects from 96 x 96 pixels on


@dataclass(frozen=True)
class ClassPrecision:
    """The average precision of one class, over the overlaps from 0.5 to 0.95, and at 0.5."""

    label: str
    objects: int
    box: float
    box50: float
    mask: float | None
    mask50: float | None


@dataclass(frozen=True)
class DetectionScores:
    """The scores of a detector."""

    images: int
    box: Precision
    mask: Precision | None  # None for a detector without masks
    classes: tuple[ClassPrecision, ...]


def read(folder: Path, labels: Sequence[Label]) -> CocoFolder:
    """Return a data set whose categories are classes of a model. Raise DatasetError, BackendMissing."""
    file = annotations(folder)
    truth = load(file)
    folders = [folder / file.stem.removeprefix(PREFIX), folder / "images", folder, file.parent]
    images = tuple(CocoImage(row["id"], locate(folders, row["file_name"])) for row in truth.dataset["images"])
    if not images:
        raise DatasetError(f"{file}: the file lists no images")
    return CocoFolder(truth, images, categories(truth, labels, file))


def annotations(folder: Path) -> Path:
    """Return the file of the instances. Raise DatasetError unless there is one."""
    files = sorted(folder.glob("annotations/instances_*.json")) or sorted(folder.glob("*.json"))
    held = [file for file in files if (folder / file.stem.removeprefix(PREFIX)).is_dir()] or files
    if len(held) != 1:
        found = f"there are {len(held)}: {', '.join(file.name for file in held)}" if held else "there is none"
        raise DatasetError(f"{folder}: one file of COCO's instances is needed, annotations/instances_*.json; {found}")
    return held[0]


def load(file: Path) -> "COCO":
    """Return the instances of a file. Raise DatasetError, BackendMissing."""
    try:
        from pycocotools.coco import COCO
    except ImportError as error:
        raise BackendMissing(
            "the precision of a detector needs pycocotools; install it with pip install 'twins-serving[coco]'"
        ) from error
    try:
        truth = COCO()
        truth.dataset = json.loads(file.read_text("utf-8"))
        with silent():
            truth.createIndex()
        check(truth.dataset)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{file}: this is not a file of COCO's instances ({error})") from error
    return truth


def check(dataset: dict[str, Any]) -> None:
    """Raise KeyError or ValueError unless every entry has what the evaluation reads."""
    for name, needed in REQUIRED.items():
        if missing := [needed - row.keys() for row in dataset[name] if not needed <= row.keys()]:
            raise ValueError(f"an entry of {name} lacks {', '.join(sorted(missing[0]))}")


def locate(folders: Sequence[Path], name: str) -> Path:
    """Return the file of an image. Raise DatasetError."""
    for folder in folders:
        if (path := folder / name).is_file():
            return path
    raise DatasetError(f"the image {name} is in none of {', '.join(map(str, folders))}")


def categories(truth: "COCO", labels: Sequence[Label], file: Path) -> tuple[int, ...]:
    """Return the number in the data set of each class. Raise DatasetError if a category is not a class."""
    numbers = {normalised(row["name"]): row["id"] for row in truth.dataset["categories"]}
    names = [normalised(label.name) for label in labels]
    if unknown := numbers.keys() - set(names):
        raise DatasetError(f"{file}: the model has no class {sorted(unknown)[0]!r}")
    taken = max(numbers.values(), default=0)
    return tuple(numbers.get(name, taken + 1 + index) for index, name in enumerate(names))


def score(data: CocoFolder, results: Sequence[dict[str, Any]], labels: Sequence[Label]) -> DetectionScores:
    """Return the scores of results in COCO's form, over all images of the data set."""
    masks = any("segmentation" in each for each in results)
    box, by_class = evaluate(data, results, "bbox")
    mask, masks_by_class = evaluate(data, results, "segm") if masks else (None, {})
    truth = with_crowds(data.truth, masks=False)
    counts = {number: len(truth.getAnnIds(catIds=[number], iscrowd=False)) for number in data.categories}
    return DetectionScores(
        len(data.images),
        box,
        mask,
        tuple(
            ClassPrecision(label.name, counts[number], *by_class[number], *masks_by_class.get(number, (None, None)))
            for label, number in zip(labels, data.categories, strict=True)
            if counts[number]
        ),
    )


def evaluate(
    data: CocoFolder, results: Sequence[dict[str, Any]], kind: str
) -> tuple[Precision, dict[int, tuple[float, float]]]:
    """Return the precision over all classes, and that of each category, over all overlaps and at 0.5.

    `kind` is bbox or segm.
    """
    from pycocotools.cocoeval import COCOeval

    with silent():
        truth = with_crowds(data.truth, masks=kind == "segm")
        found = truth.loadRes(list(scored_by(results, kind))) if results else empty(truth)
        run = COCOeval(truth, found, kind)
        run.evaluate()
        run.accumulate()
        run.summarize()
    precision = run.eval["precision"][:, :, :, 0, -1]  # overlaps, recalls, categories
    by_class = {}
    for index, number in enumerate(run.params.catIds):
        by_class[number] = (mean(precision[:, :, index]), mean(precision[0, :, index]))
    return Precision(**dict(zip(SUMMARY, map(float, run.stats), strict=False))), by_class


def mean(precision: NDArray[np.float64]) -> float:
    """Return the mean of the values that are known; -1 if there are none."""
    known = precision[precision > -1]
    return float(known.mean()) if known.size else -1.0


def scored_by(results: Sequence[dict[str, Any]], kind: str) -> Iterator[dict[str, Any]]:
    """Yield results that pycocotools may change. It takes the size of an object from its mask if there is no box."""
    unused = "bbox" if kind == "segm" else "segmentation"
    return ({name: value for name, value in each.items() if name != unused} for each in results)


def with_crowds(truth: "COCO", *, masks: bool) -> "COCO":
    """Return the same data set in which every object that must not be scored is a crowd.

    pycocotools replaces the field `ignore` by `iscrowd`. An object without a mask cannot be scored by its mask.
    """
    from pycocotools.coco import COCO

    def scored(each: dict[str, Any]) -> bool:
        return not each.get("iscrowd") and not each.get("ignore") and ("segmentation" in each or not masks)

    marked = COCO()
    rows = ({**each, "iscrowd": int(not scored(each))} for each in truth.dataset["annotations"])
    marked.dataset = {**truth.dataset, "annotations": [with_box(row) if masks else row for row in rows]}
    with silent():
        marked.createIndex()
    return marked


def with_box(row: dict[str, Any]) -> dict[str, Any]:
    """Return an annotation with a mask: its own, or its box."""
    left, top, width, height = row["bbox"]
    right, bottom = left + width, top + height
    return {"segmentation": [[left, top, right, top, right, bottom, left, bottom]], **row}


def empty(truth: "COCO") -> "COCO":
    """Return results without any detection."""
    from pycocotools.coco import COCO

    found = COCO()
    found.dataset = {"images": truth.dataset["images"], "categories": truth.dataset["categories"], "annotations": []}
    found.createIndex()
    return found


def silent() -> contextlib.AbstractContextManager[Any]:
    """Return a context in which nothing reaches the standard output, to which pycocotools prints its progress."""
    return contextlib.redirect_stdout(io.StringIO())
