"""Results in the forms of Hugging Face's tasks: image classification, segmentation and object detection."""

from dataclasses import dataclass

from twins.render import png
from twins.tasks.classify import Classification
from twins.tasks.detection import DetectionResult
from twins.tasks.segmentation import Region, Segmentation


@dataclass(frozen=True)
class LabelScore:
    """One class of the list."""

    label: str
    score: float


def labels(found: Classification) -> tuple[LabelScore, ...]:
    """Return an entry for each class, best first."""
    return tuple(LabelScore(each.label, each.score) for each in found.predictions)


@dataclass(frozen=True)
class Segment:
    """One class of the list."""

    label: str
    mask: str  # a PNG in base64: 255 where the class is, 0 elsewhere
    score: float | None  # mean softmax score of its pixels; None unless confidences were asked for


def encode(found: Segmentation, regions: tuple[Region, ...]) -> tuple[Segment, ...]:
    """Return an entry for each region; `regions` comes from `twins.tasks.segmentation.regions`."""
    return tuple(
        Segment(each.label, png.as_text(png.silhouette(found.mask == each.class_id)), each.confidence)
        for each in regions
    )


@dataclass(frozen=True)
class Corners:
    """A box in whole pixels."""

    xmin: int
    ymin: int
    xmax: int
    ymax: int


@dataclass(frozen=True)
class FoundObject:
    """One object of the list."""

    label: str
    score: float
    box: Corners


def objects(found: DetectionResult) -> tuple[FoundObject, ...]:
    """Return an entry for each detection, best first."""
    return tuple(FoundObject(each.label, each.score, Corners(*map(round, each.box))) for each in found.detections)
