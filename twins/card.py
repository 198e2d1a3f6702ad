"""What can be known of a model without its weights: the card that `/models/{name}` serves and tasks work by."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

TOP_K_LIMIT = 1000  # the longest list of classes an answer may carry

MIN_SIDE = 32  # of a network's input, in pixels: below it the first sub-sampling convolution is larger than its map

MAX_UINT8_CLASSES = 255  # classes at most in a mask of one byte a pixel: 255 itself stands for no class

TaskName = Literal["classify", "segment"]
HeadName = Literal["linear", "fpn", "upernet"]

TASK_OF: dict[HeadName, TaskName] = {"linear": "classify", "fpn": "segment", "upernet": "segment"}


@dataclass(frozen=True)
class Geometry:
    """How an image becomes the network's input: resized with its ratio kept, then perhaps cropped in the centre."""

    short_side: int  # of the resized image, in pixels
    crop: int | None = None  # side of the centre crop, in pixels; None: the whole image
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"  # on uint8: as Pillow computes it; as OpenCV does
    long_side: int | None = None  # the most the resized image may have, in pixels, whatever its short side becomes

    @property
    def usual_size(self) -> tuple[int, int]:
        """(height, width) of the input that an ordinary photo becomes: upright it has the same number of pixels."""
        return (self.crop, self.crop) if self.crop else (self.short_side, int(self.short_side * 4 / 3 + 0.5))


@dataclass(frozen=True)
class Normalisation:
    """Subtracted and divided by, per channel, on values from 0 to 1, in the order red, green, blue."""

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Label:
    """One class."""

    name: str
    synset: str | None = None  # WordNet id: ImageNet's names repeat, these do not
    colour: str | None = None  # in which masks show it, `#rrggbb`


@dataclass(frozen=True)
class Accuracy:
    """Measured figures and where they come from."""

    figures: Mapping[str, float]  # percentages by the metric's name: top1, top5, mIoU, "mIoU multi-scale"
    dataset: str
    source: str


@dataclass(frozen=True)
class Card:
    """A served model."""

    name: str
    task: TaskName
    variant: str
    labels: tuple[Label, ...]
    geometry: Geometry
    normalisation: Normalisation
    exif_orientation: bool  # turn the image as its EXIF tag says before anything else
    source: str
    licence: str
    published: Accuracy | None = None
    measured: Accuracy | None = None
    parameters: int | None = None
    sha256: str | None = None  # of the file with the weights, where it was resolved before it was loaded
    notes: str = ""
    document: str = ""  # the model card that ships with it, Markdown: data, recipe, figures, failures, intended use
