"""Detections as a list of results in the form of COCO, which pycocotools evaluates."""

import msgspec

from twins.render import rle
from twins.render.rle import Rle
from twins.tasks.detection import Detection, DetectionResult


class CocoResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """One object; `bbox` is left, top, width and height."""

    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    score: float
    segmentation: Rle | None = None


def results(found: DetectionResult, image_id: int) -> list[CocoResult]:
    """Return a result for each object. The category is the data set's number of the class, or else the class id."""
    return [result(each, found, image_id) for each in found.detections]


def result(found: Detection, image: DetectionResult, image_id: int) -> CocoResult:
    """Return one result."""
    left, top, right, bottom = found.box
    category = image.labels[found.class_id].category
    mask = found.mask(image.size)
    return CocoResult(
        image_id,
        found.class_id if category is None else category,
        (left, top, right - left, bottom - top),
        found.score,
        None if mask is None else rle.encode_instance(mask, image.size),
    )
