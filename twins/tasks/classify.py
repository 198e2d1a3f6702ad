"""Classification: an image in, the best classes out.

Preprocessing is timm's evaluation: short side resized, bicubic with Pillow's antialiasing, centre crop.
"""

from dataclasses import dataclass

from PIL import Image

from twins.card import TOP_K_LIMIT, Card, Geometry
from twins.errors import BadOption
from twins.images.decode import DecodedImage, to_array
from twins.tasks.sample import Output, Sample


@dataclass(frozen=True)
class Options:
    """What a client may ask for."""

    top_k: int = 5  # 1 to TOP_K_LIMIT; a network of fewer classes answers them all

    def __post_init__(self) -> None:
        if not 1 <= self.top_k <= TOP_K_LIMIT:
            raise BadOption(f"top_k is {self.top_k}; it must be from 1 to {TOP_K_LIMIT}")


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


ELONGATED = 64
"""The ratio of sides above which only what the crop keeps is resized: a ribbon as a whole would take gigabytes."""


def check(options: Options, card: Card) -> None:
    """Every model takes all options: one of fewer classes than asked for answers them all."""


def preprocess(image: DecodedImage, card: Card, options: Options | None = None) -> Sample:  # noqa: ARG001
    """The image resized and cropped as the model's geometry says; the options change nothing here."""
    geometry = card.geometry
    size = resized_size(image.size, geometry)
    if geometry.crop and max(size) > ELONGATED * min(size):
        return Sample(to_array(resized_crop(image, size, geometry.crop)))
    resized = image.resize(size, Image.Resampling.BICUBIC)
    return Sample(to_array(resized.crop(centre_box(size, geometry.crop)) if geometry.crop else resized))


def postprocess(output: Output, card: Card, options: Options) -> Classification:
    """Names for the class ids; `output` has ids (k,) and scores (k,), best first."""
    ids, scores = output.arrays
    best = zip(ids[: options.top_k].tolist(), scores[: options.top_k].tolist(), strict=True)
    return Classification(tuple(prediction(card, class_id, score) for class_id, score in best))


def prediction(card: Card, class_id: int, score: float) -> Prediction:
    """One entry of the answer."""
    label = card.labels[class_id]
    return Prediction(label.name, class_id, score, label.synset)


def resized_size(size: tuple[int, int], geometry: Geometry) -> tuple[int, int]:
    """(width, height) with the short side as the geometry wants it; the long side is rounded down."""
    width, height = size
    short, target = min(size), geometry.short_side
    return (max(1, target * width // short), max(1, target * height // short))


def centre_box(size: tuple[int, int], side: int) -> tuple[int, int, int, int]:
    """The square of `side` pixels in the middle, halves rounded to even; both sides are at least that long."""
    left, top = round((size[0] - side) / 2), round((size[1] - side) / 2)
    return (left, top, left + side, top + side)


def resized_crop(image: DecodedImage, size: tuple[int, int], side: int) -> DecodedImage:
    """The centre crop of the image as resized to `size`, without the rest: the same but for rounding in between."""
    across, down = image.width / size[0], image.height / size[1]
    left, top, right, bottom = centre_box(size, side)
    box = (left * across, top * down, right * across, bottom * down)
    return image.resize((side, side), Image.Resampling.BICUBIC, box)
