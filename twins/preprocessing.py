"""The preprocessing values of a model: which sources can give them, and which source is used.

A user's values come first, then those in the checkpoint, then the zoo's, then the defaults of the task and format.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, get_args

from twins.card import (
    MIN_SIDE,
    Card,
    Geometry,
    Interpolation,
    Normalisation,
    PreprocessingSources,
    Source,
    TaskName,
    Triple,
)
from twins.errors import BadOption

MAX_SIZE = 4096  # pixels
MIN_CROP = 0.25  # a smaller share would make an image far larger first; published models keep 0.875 or more

INTERPOLATIONS: dict[TaskName, tuple[Interpolation, ...]] = {
    "classify": ("bicubic", "bilinear"),
    "segment": ("bilinear",),
    "detect": ("bilinear",),
}

SCALE = "Divide values for pixels from 0 to 255 by 255."
SYNTAX = "size=224,crop=0.9,interpolation=bicubic,mean=0.5/0.5/0.5,std=0.5/0.5/0.5"
"""The notation of preprocessing values."""

EXAMPLES = {name: value for name, _, value in (pair.partition("=") for pair in SYNTAX.split(","))}


@dataclass(frozen=True)
class Preprocessing:
    """The preprocessing values that one source gives. None means that the source does not give the value.

    Raises BadOption for a value that no model can use. Whether a task supports the interpolation is decided by
    `choose`, because a better source may replace it.
    """

    size: int | None = None  # pixels: the side of a classifier's crop, or the short side of the whole image
    crop: float | None = None  # the share of the short side that a classifier's crop keeps, MIN_CROP to 1
    interpolation: str | None = None
    mean: Triple | None = None  # red, green, blue, for values from 0 to 1
    std: Triple | None = None

    def __post_init__(self) -> None:
        if self.size is not None and not (isinstance(self.size, int) and MIN_SIDE <= self.size <= MAX_SIZE):
            raise BadOption(f"size is {self.size}; it must be from {MIN_SIDE} to {MAX_SIZE} pixels")
        if self.crop is not None and not MIN_CROP <= self.crop <= 1:
            raise BadOption(f"crop is {self.crop}; it must be from {MIN_CROP} to 1")
        if self.mean is not None and not all(0 <= value <= 1 for value in self.mean):
            raise BadOption(f"mean is {joined(self.mean)}; each value must be from 0 to 1. {SCALE}")
        if self.std is not None and not all(0 < value <= 1 for value in self.std):
            raise BadOption(f"std is {joined(self.std)}; each value must be greater than 0 and at most 1. {SCALE}")

    def with_defaults(self, defaults: "Preprocessing") -> "Preprocessing":
        """Return these values, with those of `defaults` where these are missing."""
        mine = {name: value for name, value in asdict(self).items() if value is not None}
        return Preprocessing(**{**asdict(defaults), **mine})


NO_VALUES = Preprocessing()
IMAGENET = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))

DEFAULTS: dict[TaskName, Preprocessing] = {
    "classify": Preprocessing(size=224, crop=0.9, interpolation="bicubic").with_defaults(IMAGENET),
    "segment": Preprocessing(size=512, interpolation="bilinear").with_defaults(IMAGENET),
    "detect": Preprocessing(size=800, interpolation="bilinear").with_defaults(IMAGENET),
}
"""Values that apply where no source gives any. A task uses the values that have a default."""


@dataclass(frozen=True)
class Chosen:
    """The values that a model is served with, and the source of each."""

    geometry: Geometry
    normalisation: Normalisation
    sources: PreprocessingSources


def choose(task: TaskName, given: dict[Source, Preprocessing]) -> Chosen:
    """Return each value from the first source that has it, in the order of `Source`, or the default of the task.

    Raises BadOption for a value from the user that the task does not use, and for an interpolation that it cannot do.
    """
    layers = {source: given.get(source, NO_VALUES) for source in get_args(Source)}
    layers["default"] = layers["default"].with_defaults(DEFAULTS[task])
    used = [field.name for field in fields(Preprocessing) if getattr(DEFAULTS[task], field.name) is not None]
    unused = [name for name, value in asdict(layers["flag"]).items() if value is not None and name not in used]
    if unused:
        raise BadOption(f"{unused[0]} does not apply to the task {task}, whose values are {', '.join(used)}")
    sources = {name: next(s for s, layer in layers.items() if getattr(layer, name) is not None) for name in used}
    values = {name: getattr(layers[source], name) for name, source in sources.items()}
    check_interpolation(task, values["interpolation"], sources["interpolation"])
    return Chosen(
        GEOMETRIES[task](values), Normalisation(values["mean"], values["std"]), PreprocessingSources(**sources)
    )


def check_interpolation(task: TaskName, interpolation: str, source: Source) -> None:
    """Raise BadOption unless images for the task can be resized that way."""
    if interpolation not in INTERPOLATIONS[task]:
        raise BadOption(
            f"the interpolation {interpolation} (source: {source}) is not supported for the task {task}; "
            f"use {' or '.join(INTERPOLATIONS[task])}"
        )


def centre_crop(size: int, share: float, interpolation: Interpolation = "bicubic") -> Geometry:
    """Return the geometry of timm's evaluation: the short side resized to floor(size / share), then a square crop."""
    return Geometry(short_side=int(size / share), crop=size, interpolation=interpolation)


def resize_keep_ratio(short_side: int, long_side: int | None = None) -> Geometry:
    """Return the geometry of OpenMMLab's test pipelines: the whole image, as large as both bounds allow.

    The usual long side is that of mmsegmentation.
    """
    return Geometry(short_side=short_side, long_side=long_side or 4 * short_side, interpolation="bilinear")


GEOMETRIES: dict[TaskName, Callable[[dict[str, Any]], Geometry]] = {
    "classify": lambda values: centre_crop(values["size"], values["crop"], values["interpolation"]),
    "segment": lambda values: resize_keep_ratio(values["size"]),
    "detect": lambda values: resize_keep_ratio(values["size"], round(values["size"] * 1333 / 800)),  # mmdetection's
}
"""The functions that build a geometry from preprocessing values, by task."""


def parse_triple(text: str) -> Triple:
    """Return three numbers that are separated by slashes. Raises ValueError."""
    red, green, blue = map(float, text.split("/"))
    return red, green, blue


PARSERS: dict[str, Callable[[str], Any]] = {
    "size": int,
    "crop": float,
    "interpolation": str,
    "mean": parse_triple,
    "std": parse_triple,
}


def parse_preprocessing(text: str) -> Preprocessing:
    """Return the values in a text like `size=224,mean=0.5/0.5/0.5`. Raises BadOption."""
    pairs = [tuple(each.strip() for each in part.partition("=")) for part in text.split(",")]
    if twice := [name for name, _, _ in pairs if [other for other, _, _ in pairs].count(name) > 1]:
        raise BadOption(f"{twice[0]} is given twice in {text!r}")
    return parse_values({name: value for name, _, value in pairs})


def parse_values(texts: Mapping[str, str]) -> Preprocessing:
    """Return the values in texts by name. Raises BadOption."""
    values: dict[str, Any] = {}
    for name, text in texts.items():
        if name not in PARSERS:
            raise BadOption(f"{name!r} is not a preprocessing value; write values like {SYNTAX}")
        try:
            values[name] = PARSERS[name](text)
        except ValueError as error:
            raise BadOption(f"{text!r} is not a value for {name}; write it like {EXAMPLES[name]}") from error
    return Preprocessing(**values)


def joined(values: Triple) -> str:
    """Return three numbers as `parse_triple` reads them."""
    return "/".join(f"{value:g}" for value in values)


def describe(found: Chosen | Card) -> str:
    """Return the values with their sources in a line, for people."""
    shape, scale, sources = found.geometry, found.normalisation, found.sources
    values = (
        ("size", shape.crop or shape.short_side, sources.size),
        ("resized short side", shape.short_side, sources.crop),
        ("interpolation", shape.interpolation, sources.interpolation),
        ("mean", joined(scale.mean), sources.mean),
        ("std", joined(scale.std), sources.std),
    )
    return ", ".join(f"{name} {value} ({source})" for name, value, source in values if source is not None)


def assumed(found: Chosen | Card) -> tuple[str, ...]:
    """Return the names of the values that are defaults, and that may be wrong for this network."""
    return tuple(name for name, source in asdict(found.sources).items() if source == "default")
