"""The metadata of a checkpoint, which cannot be inferred from the names and shapes of its weights.

This project writes these values to the metadata of safetensors files. The metadata of other projects is translated to
them in `project_metadata`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from twins.card import Source, Triple
from twins.errors import CheckpointError
from twins.network.variants import Family
from twins.preprocessing import MIN_CROP, NO_VALUES, Preprocessing

FAMILY, LABELS, PALETTE = "twins.family", "twins.labels", "twins.palette"
SIZE, CROP, INTERPOLATION = "twins.size", "twins.crop", "twins.interpolation"
MEAN, STD = "twins.mean", "twins.std"
DEFAULT_CROP = "twins.default_crop"
KEYS = (FAMILY, LABELS, PALETTE, SIZE, CROP, INTERPOLATION, MEAN, STD, DEFAULT_CROP)
"""The keys of the metadata. The values are JSON."""

COLOUR = re.compile(r"#[0-9a-f]{6}")


@dataclass(frozen=True)
class Declared:
    """The metadata that a checkpoint contains or that its format implies."""

    family: Family
    default_crop: float  # the share of the short side that is usual in the format; applies if nothing else is given
    preprocessing: Preprocessing = NO_VALUES
    labels: tuple[str, ...] | None = None
    palette: tuple[str, ...] | None = None  # one colour per label, `#rrggbb`

    @property
    def layers(self) -> dict[Source, Preprocessing]:
        """Return the values of the file and of its format by source, for `twins.preprocessing.choose`."""
        return {"checkpoint": self.preprocessing, "default": Preprocessing(crop=self.default_crop)}


def parse(metadata: Mapping[str, str], default: Declared) -> Declared:
    """Return the values in the metadata, and the default for the others. Raises CheckpointError."""
    try:
        values = {key: json.loads(metadata[key]) for key in KEYS if key in metadata}
        declared = replace(
            default,
            family=replace(default.family, **values.get(FAMILY, {})),
            default_crop=float(values.get(DEFAULT_CROP, default.default_crop)),
            preprocessing=Preprocessing(
                values.get(SIZE),
                values.get(CROP),
                values.get(INTERPOLATION),
                triple(values.get(MEAN)),
                triple(values.get(STD)),
            ),
            labels=texts(values.get(LABELS)),
            palette=texts(values.get(PALETTE)),
        )
        check(declared)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise CheckpointError(f"its metadata is damaged: {error}") from error
    return declared


def texts(value: Any) -> tuple[str, ...] | None:
    """Return a list of strings as a tuple, or None if it is empty. Raises ValueError."""
    if value is not None and not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
        raise ValueError("a list of strings is expected")
    return tuple(value) if value else None


def triple(value: Any) -> Triple | None:
    """Return three numbers as a tuple, or None if there is no value. Raises ValueError."""
    if value is None:
        return None
    if not (isinstance(value, list) and len(value) == 3 and all(isinstance(each, int | float) for each in value)):
        raise ValueError(f"three numbers are expected, not {value}")
    red, green, blue = map(float, value)
    return red, green, blue


def check(declared: Declared) -> None:
    """Raise ValueError for values that make no sense."""
    if not MIN_CROP <= declared.default_crop <= 1:
        raise ValueError(f"the crop is {declared.default_crop}")
    if declared.palette and not all(COLOUR.fullmatch(colour) for colour in declared.palette):
        raise ValueError("the palette has values that are not colours")


def write(declared: Declared) -> dict[str, str]:
    """Return the metadata from which `parse` reads `declared`."""
    given = declared.preprocessing
    values = {
        FAMILY: asdict(declared.family),
        DEFAULT_CROP: declared.default_crop,
        SIZE: given.size,
        CROP: given.crop,
        INTERPOLATION: given.interpolation,
        MEAN: given.mean,
        STD: given.std,
        LABELS: declared.labels,
        PALETTE: declared.palette,
    }
    return {key: json.dumps(value) for key, value in values.items() if value is not None}
