"""The variant of a checkpoint: what its weights show, and what its metadata adds. No torch."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from twins.errors import CheckpointError
from twins.network.variants import CHANNELS_PER_HEAD, GLOBAL, LOCAL, REDUCTIONS, STAGES, Positions, Subsampling, Variant

if TYPE_CHECKING:
    from torch import Tensor

    State = Mapping[str, Tensor]

KEY = "twins.variant"  # of the metadata; the value is JSON, an object of `HIDDEN` fields
HIDDEN = ("heads", "reductions", "window", "encode_after")
"""The fields that leave no trace in the weights. Reductions leave none where keys are means."""

LARGEST_WINDOW = 64  # that metadata may ask for, since small maps are padded to a whole window
NAMED_AT_MOST = 5  # missing parameters in a message

SUBSAMPLING: dict[str, Subsampling] = {
    r"blocks\.\d\.\d+\.attn\.sr\.weight": "convolution",
    r"blocks\.\d\.\d+\.attn\.sr\.0\.weight": "separable",
    r"blocks\.\d\.\d+\.attn\.norm\.weight": "average",
}
"""The functions of sub-sampling by a key that each has, the most specific first."""

POSITIONS: dict[str, Positions] = {r"pos_block\..*": "convolution", r"pos_embeds\..*": "absolute"}


def infer_variant(state: "State") -> Variant:
    """Return the variant that these names and shapes belong to. Raises CheckpointError.

    The window, the heads, the sub-sampling of average pooling and the place of the position convolution leave no trace
    in the weights. They are the published ones here; `declared` has those of a file's metadata.
    """
    stages = stages_of(state)
    dims = tuple(state[f"patch_embeds.{stage}.proj.weight"].shape[0] for stage in stages)
    letters = tuple(letters_of(state, stage) for stage in stages)
    per_head = CHANNELS_PER_HEAD["svt" if any(LOCAL in row for row in letters) else "pcpvt"]
    heads = tuple(max(1, dim // per_head) for dim in dims)
    if 0 in dims or any(dim % count for dim, count in zip(dims, heads, strict=True)):
        raise CheckpointError(f"its stages have {dims} channels, which is not a multiple of the {per_head} of one head")
    hidden = (state.get(f"blocks.{stage}.0.mlp.fc1.weight") for stage in stages)
    subsampling = named(state, SUBSAMPLING, "convolution")
    try:
        return Variant(
            dims,
            depths=tuple(map(len, letters)),
            heads=heads,
            mlp_ratios=tuple(0 if fc1 is None else fc1.shape[0] // dim for fc1, dim in zip(hidden, dims, strict=True)),
            pattern=tuple(row or GLOBAL for row in letters),
            reductions=tuple(reduction(state, stage, subsampling) for stage in stages),
            subsampling=subsampling,
            positions=named(state, POSITIONS, "none"),
        )
    except ValueError as error:
        raise CheckpointError(f"no network has this architecture: {error}") from error


def declared(variant: Variant, metadata: Mapping[str, str]) -> Variant:
    """Return a variant with the fields that its weights do not show. Raises CheckpointError."""
    try:
        values = json.loads(metadata.get(KEY, "{}"))
        if not isinstance(values, dict) or not values.keys() <= set(HIDDEN):
            raise ValueError(f"an object of {', '.join(HIDDEN)} is expected")
        changed = replace(variant, **{name: value_of(variant, name, value) for name, value in values.items()})
        if changed.window > LARGEST_WINDOW or any(map(int.__mod__, changed.dims, changed.heads)):
            raise ValueError(f"windows of {changed.window} and {changed.heads} heads")
    except ValueError as error:
        raise CheckpointError(f"its metadata is damaged: {KEY}: {error}") from error
    return changed


def value_of(variant: Variant, name: str, value: object) -> Any:
    """Return a declared value with the type of its field. Raises ValueError."""
    many = isinstance(getattr(variant, name), tuple)
    values = value if many else [value]
    if not isinstance(values, list) or not all(type(each) is int for each in values):
        raise ValueError(f"{name} needs whole numbers, not {value}")
    return tuple(values) if many else value


def hidden(variant: Variant) -> dict[str, str]:
    """Return the metadata from which `declared` reads what the weights do not show."""
    return {KEY: json.dumps({name: getattr(variant, name) for name in HIDDEN})}


def stages_of(state: "State") -> range:
    """Return the indices of the stages. Raises CheckpointError if one has no patch embedding."""
    count = max(STAGES[0], 1 + last_index(state, r"(?:patch_embeds|blocks)\.(\d)\..*"))
    missing = [key for stage in range(count) if (key := f"patch_embeds.{stage}.proj.weight") not in state]
    if missing:
        raise CheckpointError(f"lacks {', '.join(missing[:NAMED_AT_MOST])}")
    return range(count)


def last_index(keys: Iterable[str], pattern: str) -> int:
    """Return the largest number that a pattern finds in the keys, or -1."""
    return max((int(found[1]) for key in keys if (found := re.fullmatch(pattern, key))), default=-1)


def letters_of(state: "State", stage: int) -> str:
    """Return a letter for each block of a stage."""
    depth = len({key.split(".")[2] for key in state if key.startswith(f"blocks.{stage}.")})
    keys = (f"blocks.{stage}.{block}.attn.qkv.weight" for block in range(depth))
    return "".join(LOCAL if key in state else GLOBAL for key in keys)


def reduction(state: "State", stage: int, subsampling: Subsampling) -> int:
    """Return the side of a stage's sub-sampling: that of its convolution, the published one, or 1 if there is none."""
    convolution = re.compile(rf"blocks\.{stage}\.\d+\.attn\.sr\.(?:0\.)?weight")
    sides = (value.shape[-1] for key, value in state.items() if convolution.fullmatch(key))
    pooled = any(re.fullmatch(rf"blocks\.{stage}\.\d+\.attn\.norm\.weight", key) for key in state)
    return next(map(int, sides), REDUCTIONS[stage] if subsampling == "average" and pooled else 1)


Named = TypeVar("Named", bound=str)


def named(state: "State", names: Mapping[str, Named], default: Named) -> Named:
    """Return the first name whose pattern matches a key, or the default."""
    return next((name for pattern, name in names.items() if any(re.fullmatch(pattern, key) for key in state)), default)
