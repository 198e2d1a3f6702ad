"""The results of each task, as the service's JSON documents describe them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twins_client import rle

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels of the image


@dataclass(frozen=True)
class Prediction:
    """One class of an image."""

    label: str
    class_id: int
    score: float  # softmax, 0 to 1


@dataclass(frozen=True)
class Classification:
    """The best classes of an image, best first."""

    model: str
    predictions: tuple[Prediction, ...]

    @property
    def best(self) -> Prediction:
        """Return the best class."""
        return self.predictions[0]


@dataclass(frozen=True)
class Region:
    """The pixels of one class."""

    label: str
    class_id: int
    colour: str  # `#rrggbb`
    pixels: int
    share: float  # of the image's area, 0 to 1
    box: tuple[int, int, int, int]  # left, top, right, bottom; right and bottom are just behind the last pixel
    size: tuple[int, int]  # (height, width) of the image
    counts: str = ""  # COCO's compressed run lengths; empty if no masks were asked for

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """Return where the class is, (height, width)."""
        return rle.decode(self.counts, *self.size)


@dataclass(frozen=True)
class Segmentation:
    """The classes of the pixels of an image, largest first."""

    model: str
    size: tuple[int, int]  # (height, width)
    regions: tuple[Region, ...]

    @cached_property
    def mask(self) -> NDArray[np.int32]:
        """Return the class of every pixel, (height, width); -1 where there is none."""
        found = np.full(self.size, -1, np.int32)
        for region in self.regions:
            found[region.mask] = region.class_id
        return found


@dataclass(frozen=True)
class Detection:
    """One object."""

    label: str
    class_id: int
    score: float
    box: Box
    size: tuple[int, int]  # (height, width) of the image
    counts: str = ""  # as of a region; empty for models without masks

    @cached_property
    def mask(self) -> NDArray[np.bool_] | None:
        """Return the pixels of the object, (height, width), or None if the model has no masks."""
        return rle.decode(self.counts, *self.size) if self.counts else None


@dataclass(frozen=True)
class Detections:
    """The objects in an image, best first."""

    model: str
    size: tuple[int, int]  # (height, width)
    objects: tuple[Detection, ...]

    @property
    def boxes(self) -> NDArray[np.float32]:
        """Return the boxes, (N, 4): left, top, right, bottom."""
        return np.array([each.box for each in self.objects], np.float32).reshape(-1, 4)

    @property
    def scores(self) -> NDArray[np.float32]:
        """Return the scores, (N,)."""
        return np.array([each.score for each in self.objects], np.float32)

    @property
    def labels(self) -> list[str]:
        """Return the labels, N."""
        return [each.label for each in self.objects]


@dataclass(frozen=True)
class Embedding:
    """The pooled features of an image."""

    model: str
    vector: NDArray[np.float32]  # (channels,)


Result = Classification | Segmentation | Detections | Embedding
Document = Mapping[str, Any]


def classification(document: Document) -> Classification:
    """Return the result in a document."""
    found = (Prediction(each["label"], each["class_id"], each["score"]) for each in document["predictions"])
    return Classification(document["model"], tuple(found))


def segmentation(document: Document) -> Segmentation:
    """Return the result in a document."""
    size = size_of(document)
    regions = (
        Region(
            *(each[name] for name in ("label", "class_id", "colour", "pixels", "share")),
            box=tuple(each["box"]),
            size=size,
            counts=each.get("rle", {}).get("counts", ""),
        )
        for each in document["classes"]
    )
    return Segmentation(document["model"], size, tuple(regions))


def detections(document: Document) -> Detections:
    """Return the result in a document."""
    size = size_of(document)
    found = (
        Detection(
            *(each[name] for name in ("label", "class_id", "score")),
            box=tuple(each["box"]),
            size=size,
            counts=each.get("rle", {}).get("counts", ""),
        )
        for each in document["detections"]
    )
    return Detections(document["model"], size, tuple(found))


def embedding(document: Document) -> Embedding:
    """Return the result in a document."""
    return Embedding(document["model"], np.array(document["embedding"], np.float32))


def size_of(document: Document) -> tuple[int, int]:
    """Return the (height, width) in a document."""
    return document["size"]["height"], document["size"]["width"]


PARSERS = {"classify": classification, "segment": segmentation, "detect": detections, "embed": embedding}
"""By the task's name."""
