"""Classification: an image in, the best classes out.

Preprocessing is timm's evaluation transform: resize the short side (bicubic, with Pillow's antialiasing), centre crop.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from twins.card import TOP_K_LIMIT, Card, Geometry, Interpolation, TaskName
from twins.images.decode import DecodedImage, to_array
from twins.images.input_image import InputImage, Size
from twins.tasks.options import Describe, Options
from twins.tasks.sample import Output, Params, Sample
from twins.tasks.task import Task

RESAMPLING: dict[Interpolation, Image.Resampling] = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
}

ELONGATED = 64
"""The ratio of sides above which only the centre crop is resized: a whole image of that shape would take gigabytes."""


@dataclass(frozen=True)
class ClassifyOptions(Options):
    """The options of a request."""

    top_k: Annotated[
        int, Describe("Return this many classes, or all of them if the model has fewer.", 1, TOP_K_LIMIT)
    ] = 5


@dataclass(frozen=True)
class ClassifyParams(Params):
    """The number of classes that leave the device."""

    task: ClassVar[str] = "classify"
    top_k: int = TOP_K_LIMIT


@dataclass(frozen=True)
class Prediction:
    """One class and its softmax score, 0 to 1."""

    label: str
    class_id: int
    score: float
    synset: str | None = None


@dataclass(frozen=True)
class Classification:
    """The best classes, best first."""

    predictions: tuple[Prediction, ...]


class Classify(Task[ClassifyOptions, Classification]):
    """The best classes of an image."""

    name = "classify"
    summary = "Return the best classes of images"
    model_task: TaskName = "classify"
    options = ClassifyOptions
    params = ClassifyParams
    margin = 8  # by `python -m bench.models.large_images`
    max_batch: ClassVar[Mapping[str, int]] = {"cuda": 32, "cpu": 8}

    def check(self, options: ClassifyOptions, card: Card) -> None:
        """Accept all options: a model with fewer classes than `top_k` returns all of them."""

    def input_size(self, size: Size, card: Card) -> Size:
        """Return the size with the short side of the model's geometry."""
        return resized_size(size, card.geometry)

    def preprocess(self, image: InputImage, card: Card, options: ClassifyOptions) -> Sample:
        """Return the image resized and cropped as the model's geometry says."""
        return Sample(to_array(resized(image, card.geometry)), ClassifyParams(options.top_k))

    def accept(self, values: NDArray[np.float32], card: Card, options: ClassifyOptions) -> Sample:  # noqa: ARG002
        """Return the sample of the network's own input."""
        return Sample(values, ClassifyParams(options.top_k))

    def postprocess(self, output: Output, card: Card, options: ClassifyOptions) -> Classification:
        """Return the best classes. `output` has ids (k,) and scores (k,), best first."""
        ids, scores = output.arrays
        best = zip(ids[: options.top_k].tolist(), scores[: options.top_k].tolist(), strict=True)
        return Classification(tuple(prediction(card, class_id, score) for class_id, score in best))


CLASSIFY = Classify()


def resized(image: InputImage, geometry: Geometry) -> DecodedImage:
    """Return the image resized to the geometry's short side and cropped in the centre if the geometry has a crop."""
    size, resampling = resized_size(image.size, geometry), RESAMPLING[geometry.interpolation]
    if geometry.crop and max(size) > ELONGATED * min(size):
        return resized_crop(image, size, geometry.crop, resampling)
    whole = image.pixels.resize(size, resampling, image.area)
    return whole.crop(centre_box(size, geometry.crop)) if geometry.crop else whole


def most_classes(samples: Sequence[Sample]) -> int:
    """Return how many classes the sample of a batch that needs most of them needs."""
    return max(cast(ClassifyParams, sample.params).top_k for sample in samples)


def prediction(card: Card, class_id: int, score: float) -> Prediction:
    """Return one entry of the result."""
    label = card.labels[class_id]
    return Prediction(label.name, class_id, score, label.synset)


def resized_size(size: Size, geometry: Geometry) -> Size:
    """Return (width, height) with the geometry's short side; the long side is rounded down."""
    width, height = size
    short, target = min(size), geometry.short_side
    return (max(1, target * width // short), max(1, target * height // short))


def centre_box(size: tuple[int, int], side: int) -> tuple[int, int, int, int]:
    """Return the centre square of `side` pixels, with halves rounded to even. Both sides must be at least that long."""
    left, top = round((size[0] - side) / 2), round((size[1] - side) / 2)
    return (left, top, left + side, top + side)


def resized_crop(image: InputImage, size: Size, side: int, resampling: Image.Resampling) -> DecodedImage:
    """Return the centre crop of the image resized to `size` without resizing the rest; equal but for rounding."""
    x, y, end_x, end_y = image.area
    across, down = (end_x - x) / size[0], (end_y - y) / size[1]
    left, top, right, bottom = centre_box(size, side)
    box = (x + left * across, y + top * down, x + right * across, y + bottom * down)
    return image.pixels.resize((side, side), resampling, box)
