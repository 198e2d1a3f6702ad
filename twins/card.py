"""The card: the properties of a model without its weights. `/models/{name}` serves it, and tasks use it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

TOP_K_LIMIT = 1000  # the most classes in an answer

SCORE, OVERLAP, MOST = 0.05, 0.5, 100
"""The test settings of the published detectors: the lowest score, the overlap of suppression, and the most boxes."""

MIN_SIDE = 32  # pixels of a network's input: on a smaller one the first sub-sampling convolution exceeds its map

MAX_UINT8_CLASSES = 255  # the most classes in a mask of one byte per pixel; the value 255 means no class

FIRST_VERSION = "1"  # of a model that is not in a model repository

TaskName = Literal["classify", "segment", "detect"]
HeadName = Literal["linear", "fpn", "upernet", "retinanet", "maskrcnn"]
Interpolation = Literal["bicubic", "bilinear"]
Precision = Literal["float", "int8"]
Source = Literal["flag", "checkpoint", "zoo", "default"]  # best first
Triple = tuple[float, float, float]

TASK_OF: dict[HeadName, TaskName] = {
    "linear": "classify",
    "fpn": "segment",
    "upernet": "segment",
    "retinanet": "detect",
    "maskrcnn": "detect",
}


@dataclass(frozen=True)
class Geometry:
    """The resizing of an image to the input of the network. The aspect ratio is kept."""

    short_side: int  # pixels of the resized image
    crop: int | None = None  # side of the centre crop in pixels; None for the whole image
    interpolation: Interpolation = "bicubic"  # on uint8; Pillow computes it for classification, OpenCV for masks
    long_side: int | None = None  # the most pixels of the resized image's long side, even if its short side shrinks

    @property
    def usual_size(self) -> tuple[int, int]:
        """Return (height, width) of the input for an image of 4:3, which has as many pixels in either orientation."""
        return (self.crop, self.crop) if self.crop else (self.short_side, int(self.short_side * 4 / 3 + 0.5))


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of the channels red, green and blue, for values from 0 to 1."""

    mean: Triple = (0.485, 0.456, 0.406)
    std: Triple = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class PreprocessingSources:
    """Where each preprocessing value of a card comes from.

    `flag` is the user's setting `preprocess`, `checkpoint` the file's metadata, `zoo` the table of known models, and
    `default` what the task or the checkpoint format suggests, which may be wrong for this network.
    """

    size: Source = "default"
    crop: Source | None = None  # the share of the short side in the crop; None for a model that does not crop
    interpolation: Source = "default"
    mean: Source = "default"
    std: Source = "default"


@dataclass(frozen=True)
class Label:
    """One class."""

    name: str
    synset: str | None = None  # the WordNet id, which is unique where ImageNet's names repeat
    colour: str | None = None  # the colour in rendered masks, `#rrggbb`
    category: int | None = None  # the number of the class in its data set, where that is not the class id (COCO)


@dataclass(frozen=True)
class Accuracy:
    """Accuracy on a data set and the source of the figures."""

    figures: Mapping[str, float]  # percentages by metric: top1, top5, mIoU, "mIoU multi-scale"
    dataset: str
    source: str


@dataclass(frozen=True)
class Card:
    """A model that can be served."""

    name: str
    task: TaskName
    variant: str
    labels: tuple[Label, ...]
    geometry: Geometry
    normalisation: Normalisation
    exif_orientation: bool  # rotate the image as its EXIF tag says before anything else
    source: str
    licence: str
    published: Accuracy | None = None
    measured: Accuracy | None = None
    parameters: int | None = None
    sha256: str | None = None  # of the file with the weights, where it was resolved before it was loaded
    precision: Precision = "float"  # int8: quantised, so that its accuracy differs from these figures
    notes: str = ""
    document: str = ""  # the model card in Markdown, for models that ship: data, recipe, figures, failures, use
    backend: str | None = None  # the library that runs the model, where it is served
    sources: PreprocessingSources = PreprocessingSources()
    version: str = FIRST_VERSION

    @property
    def key(self) -> str:
        """Return the name with its version, which no other model has."""
        return model_key(self.name, self.version)


def split_key(key: str) -> tuple[str, str]:
    """Return the name and the version of a key."""
    name, _, version = key.partition("@")
    return name, version or FIRST_VERSION


def model_key(name: str, version: str) -> str:
    """Return the key of a model: `name` for the first version, and `name@version` for the others."""
    return name if version == FIRST_VERSION else f"{name}@{version}"
