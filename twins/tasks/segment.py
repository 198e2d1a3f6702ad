"""Segmentation: find the class of every pixel of an image.

Preprocessing is mmsegmentation's test pipeline: resize as far as both bounds allow, with the ratio kept, bilinearly as
OpenCV computes it on uint8, without padding.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from twins.card import Card, TaskName
from twins.images.input_image import InputImage, Size
from twins.tasks.options import Describe, Options
from twins.tasks.resizing import resized, resized_size
from twins.tasks.sample import Output, Params, Sample
from twins.tasks.segmentation import Mask, Segmentation, ignore_index
from twins.tasks.selection import selected_ids
from twins.tasks.task import Task


@dataclass(frozen=True)
class SegmentOptions(Options):
    """The options of a request."""

    size: Annotated[
        Literal["original", "model"],
        Describe("Return the mask in this size: that of the original image or that of the network's input."),
    ] = "original"
    classes: Annotated[
        tuple[str, ...], Describe("Keep only these classes, given by name or id; by default all are kept.")
    ] = ()
    threshold: Annotated[
        float, Describe("Give no class to pixels whose confidence is below this value.", minimum=0, maximum=1)
    ] = 0.0
    confidence: Annotated[bool, Describe("Return the mean confidence of each class.")] = False
    masks: Annotated[
        Literal["rle", "polygons", "png", "none"],
        Describe("Return the masks in JSON in this form: COCO run lengths, polygons, one PNG in base64, or none."),
    ] = "rle"
    opacity: Annotated[float, Describe("Set the opacity of the mask in an overlay.", minimum=0, maximum=1)] = 0.55


@dataclass(frozen=True)
class SegmentParams(Params):
    """The mask to compute on the device."""

    task: ClassVar[str] = "segment"
    output_size: tuple[int, int] | None = None  # (height, width) of the mask; None: that of the input
    confidence: bool = False  # whether to compute the confidence of each pixel


class Segment(Task[SegmentOptions, Segmentation]):
    """The segmentation task: a class for every pixel of an image."""

    name = "segment"
    summary = "Return a class for every pixel of images"
    model_task: TaskName = "segment"
    options = SegmentOptions
    params = SegmentParams
    margin = 4  # by `python -m bench.models.large_images`
    max_batch: ClassVar[Mapping[str, int]] = {
        "cuda": 8,
        "cpu": 1,
    }  # a mask takes seconds on a CPU, and a larger batch is not faster

    def check(self, options: SegmentOptions, card: Card) -> None:
        """Raise BadOption for a class that the model does not have."""
        selected_ids(options.classes, card)

    def input_size(self, size: Size, card: Card) -> Size:
        """Return the largest size within both bounds of the model's geometry."""
        return resized_size(size, card.geometry)

    def preprocess(self, image: InputImage, card: Card, options: SegmentOptions) -> Sample:
        """Return the image resized as the model's geometry says. Raise BadOption as `check` does."""
        self.check(options, card)
        size = self.input_size(image.size, card)
        width, height = image.size if options.size == "original" else size
        params = SegmentParams((height, width), confidence=needs_confidence(options))
        return Sample(resized(image, size), params)

    def accept(self, values: NDArray[np.float32], card: Card, options: SegmentOptions) -> Sample:  # noqa: ARG002
        """Return the sample of the network's own input; its mask has the size of the input."""
        return Sample(values, SegmentParams(confidence=needs_confidence(options)))

    def postprocess(self, output: Output, card: Card, options: SegmentOptions) -> Segmentation:
        """Apply the options to the mask. `output` has the mask and, if they were computed, the confidences."""
        mask = np.asarray(output.arrays[0])
        confidences = np.asarray(output.arrays[1], np.uint8) if len(output.arrays) > 1 else None
        none = ignore_index(len(card.labels))
        if ids := selected_ids(options.classes, card):
            mask = select_classes(mask, ids, none)
        if options.threshold > 0 and confidences is not None:
            mask = np.where(confidences < options.threshold * 255, mask.dtype.type(none), mask)
        return Segmentation(mask, card.labels, confidences)


SEGMENT = Segment()


def needs_confidence(options: SegmentOptions) -> bool:
    """Return whether the device has to compute the confidences."""
    return options.confidence or options.threshold > 0


def select_classes(mask: Mask, ids: frozenset[int], none: int) -> Mask:
    """Return the mask with `none` in place of every class that is not in `ids`."""
    table = np.full(none + 1, none, mask.dtype)
    table[list(ids)] = list(ids)
    return table[mask]
