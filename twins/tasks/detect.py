"""Detection: find the objects in an image, with boxes and, for models that have them, masks.

Preprocessing is mmdetection's test pipeline: resize as far as both bounds allow, with the ratio kept, bilinearly as
OpenCV computes it on uint8. The network adds the padding to a multiple of 32, after the normalisation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from twins.card import MOST, OVERLAP, SCORE, Card, TaskName
from twins.images.input_image import InputImage, Size
from twins.tasks.detection import Detection, DetectionResult
from twins.tasks.options import Describe, Options
from twins.tasks.resizing import resized, resized_size
from twins.tasks.sample import Output, Params, Sample
from twins.tasks.selection import selected_ids
from twins.tasks.task import Task

MOST_DETECTIONS = 1000


@dataclass(frozen=True)
class DetectOptions(Options):
    """The options of a request. The defaults are the test settings of the published detectors."""

    threshold: Annotated[float, Describe("Leave out detections with a lower score.", minimum=0, maximum=1)] = SCORE
    max_detections: Annotated[
        int, Describe("Return at most this many detections, the best ones.", minimum=1, maximum=MOST_DETECTIONS)
    ] = MOST
    classes: Annotated[
        tuple[str, ...], Describe("Find only these classes, given by name or id; by default all are found.")
    ] = ()
    iou_threshold: Annotated[
        float,
        Describe(
            "Leave out a detection that overlaps a better one of its class by more than this: intersection over union.",
            minimum=0,
            maximum=1,
        ),
    ] = OVERLAP
    masks: Annotated[
        Literal["rle", "polygons", "png", "none"],
        Describe("Return the masks in JSON in this form: COCO run lengths, polygons, PNGs in base64, or none."),
    ] = "rle"
    image_id: Annotated[int, Describe("Return this id of the image in the format coco.", minimum=0, maximum=2**53)] = 0
    opacity: Annotated[float, Describe("Set the opacity of the masks in an overlay.", minimum=0, maximum=1)] = 0.45


@dataclass(frozen=True)
class DetectParams(Params):
    """What is chosen on the device."""

    task: ClassVar[str] = "detect"
    size: tuple[int, int] | None = None  # (height, width) of the image; None: that of the input
    threshold: float = SCORE
    overlap: float = OVERLAP
    limit: int = MOST
    classes: tuple[int, ...] = ()
    masks: bool = True


class Detect(Task[DetectOptions, DetectionResult]):
    """The detection task: boxes, classes, scores and masks of the objects in an image."""

    name = "detect"
    summary = "Return the objects in images, with boxes and masks"
    model_task: TaskName = "detect"
    options = DetectOptions
    params = DetectParams
    margin = 4
    max_batch: ClassVar[Mapping[str, int]] = {"cuda": 8, "cpu": 1}

    def check(self, options: DetectOptions, card: Card) -> None:
        """Raise BadOption for a class that the model does not have."""
        selected_ids(options.classes, card)

    def input_size(self, size: Size, card: Card) -> Size:
        """Return the largest size within both bounds of the model's geometry."""
        return resized_size(size, card.geometry)

    def preprocess(self, image: InputImage, card: Card, options: DetectOptions) -> Sample:
        """Return the image resized as the model's geometry says. Raise BadOption as `check` does."""
        width, height = image.size
        pixels = resized(image, self.input_size(image.size, card))
        return Sample(pixels, params(options, card, (height, width)))

    def accept(self, values: NDArray[np.float32], card: Card, options: DetectOptions) -> Sample:
        """Return the sample of the network's own input; boxes are in its pixels."""
        return Sample(values, params(options, card, None))

    def finish_pixels(self, output: Output) -> int:
        """Return the pixels of the image if there are masks, each of which is pasted and encoded at its size."""
        size, boxes, _, _, *masks = output.arrays
        return int(size.prod()) if masks and len(boxes) else boxes.size

    def postprocess(self, output: Output, card: Card, options: DetectOptions) -> DetectionResult:  # noqa: ARG002
        """Return the detections. `output` has the image's size, boxes, scores, classes and, if there are any, masks."""
        size, boxes, scores, classes, *masks = output.arrays
        probabilities = masks[0] if masks else [None] * len(boxes)
        height, width = size.tolist()
        return DetectionResult(
            tuple(
                Detection(int(class_id), card.labels[int(class_id)].name, float(score), tuple(box.tolist()), mask)
                for class_id, score, box, mask in zip(classes, scores, boxes, probabilities, strict=True)
            ),
            (height, width),
            card.labels,
        )


DETECT = Detect()


def params(options: DetectOptions, card: Card, size: tuple[int, int] | None) -> DetectParams:
    """Return what is chosen on the device for an image of `size` (height, width). Raise BadOption."""
    return DetectParams(
        size,
        options.threshold,
        options.iou_threshold,
        options.max_detections,
        tuple(sorted(selected_ids(options.classes, card))),
        masks=options.masks != "none",
    )
