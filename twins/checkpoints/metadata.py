"""What a checkpoint says beside its weights: what their keys and shapes alone would not tell.

This project writes it into a safetensors file's metadata; some training scripts leave part of it in theirs.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from twins.errors import CheckpointError
from twins.network.variants import Family

FAMILY, CROP, SIZE, LABELS, PALETTE = "twins.family", "twins.crop", "twins.size", "twins.labels", "twins.palette"
"""The keys; the values are JSON."""

COLOUR = re.compile(r"#[0-9a-f]{6}")
MAX_SIZE = 4096  # pixels


@dataclass(frozen=True)
class Declared:
    """What a checkpoint says of itself, or what its format is known to mean."""

    family: Family
    crop: float  # the share of the short side that its evaluation keeps
    size: int | None = None  # of the crop, or the short side of what is segmented, in pixels; None: it does not say
    labels: tuple[str, ...] | None = None
    palette: tuple[str, ...] | None = None  # a colour a label, `#rrggbb`


def parse(metadata: Mapping[str, str], default: Declared) -> Declared:
    """What the metadata say, and for the rest the default. Raises CheckpointError."""
    try:
        values = {key: json.loads(metadata[key]) for key in (FAMILY, CROP, SIZE, LABELS, PALETTE) if key in metadata}
        declared = replace(
            default,
            family=replace(default.family, **values.get(FAMILY, {})),
            crop=float(values.get(CROP, default.crop)),
            size=values.get(SIZE),
            labels=texts(values.get(LABELS)),
            palette=texts(values.get(PALETTE)),
        )
        check(declared)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"its metadata is damaged: {error}") from error
    return declared


def texts(value: Any) -> tuple[str, ...] | None:
    """A list of texts, None if it is empty. Raises ValueError."""
    if value is not None and not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
        raise ValueError("a list that holds more than texts")
    return tuple(value) if value else None


def check(declared: Declared) -> None:
    """Raises ValueError for what makes no sense."""
    if not 0 < declared.crop <= 1:
        raise ValueError(f"a crop of {declared.crop}")
    if declared.size is not None and not (isinstance(declared.size, int) and 0 < declared.size <= MAX_SIZE):
        raise ValueError(f"a size of {declared.size}")
    if declared.palette and not all(COLOUR.fullmatch(colour) for colour in declared.palette):
        raise ValueError("a palette with more than colours")


def write(declared: Declared) -> dict[str, str]:
    """The metadata that `parse` reads."""
    values = {
        FAMILY: asdict(declared.family),
        CROP: declared.crop,
        SIZE: declared.size,
        LABELS: declared.labels,
        PALETTE: declared.palette,
    }
    return {key: json.dumps(value) for key, value in values.items() if value is not None}
