"""A checkpoint: recognised, renamed, and its network built.

What the weights say about themselves is `recognise`; a network is `build`, strictly.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from twins import formats
from twins.errors import CheckpointError
from twins.formats import Format
from twins.heads.classify import Classifier
from twins.reading import State, read
from twins.variants import CHANNELS_PER_HEAD, VARIANTS, WINDOW, Family, Four, Kind, Variant

FAMILY_KEY, LABELS_KEY, CROP_KEY = "twins.family", "twins.labels", "twins.crop"  # of a safetensors file's metadata
SHOWN = 6  # keys named in a message


@dataclass(frozen=True)
class Checkpoint:
    """A recognised checkpoint under this project's names."""

    state: State
    format: str
    variant: Variant
    family: Family
    classes: int
    crop: float
    labels: tuple[str, ...] | None = None

    @property
    def variant_name(self) -> str:
        """The row of the variants' table with these values, or `custom`."""
        return next((name for name, row in VARIANTS.items() if row == self.variant), "custom")

    @property
    def parameters(self) -> int:
        """How many numbers there are."""
        return sum(tensor.numel() for tensor in self.state.values())


def load(path: Path, *, tolerant: bool = False) -> Checkpoint:
    """The checkpoint in the file at `path`, whichever supported format it is in.

    `tolerant` replaces objects of unknown classes by inert ones instead of refusing the file; still no code runs.
    Raises CheckpointError.
    """
    state, metadata = read(path, tolerant=tolerant)
    try:
        return recognise(state, metadata)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except IndexError as error:
        raise CheckpointError(f"{path}: a parameter has fewer dimensions than its name wants") from error


def recognise(state: State, metadata: Mapping[str, str]) -> Checkpoint:
    """What the keys and shapes tell: format, variant and class count. Raises CheckpointError."""
    length = formats.strip_prefixes(list(state))
    state = {key[length:]: tensor for key, tensor in state.items()}
    found = formats.recognise(list(state))
    if found is None:
        raise CheckpointError(
            f"not a Twins checkpoint in a format known here ({known_formats()}); its keys look like {some(state)}"
        )
    state = rename(state, found)
    variant = infer_variant(state)
    family = json.loads(metadata[FAMILY_KEY]) if FAMILY_KEY in metadata else asdict(found.families[variant.kind])
    labels = json.loads(metadata[LABELS_KEY]) if LABELS_KEY in metadata else None
    if "head.weight" not in state:
        raise CheckpointError("has no classification head (head.weight): a bare backbone cannot be served")
    return Checkpoint(
        state=state,
        format=found.name,
        variant=variant,
        family=Family(**family),
        classes=state["head.weight"].shape[0],
        crop=float(metadata.get(CROP_KEY, found.crop)),
        labels=tuple(labels) if labels else None,
    )


def rename(state: State, source: Format) -> State:
    """The same tensors under this project's names. Raises CheckpointError unless every key matches one rule."""
    matches = {key: [m for rule in source.rules if (m := match(rule, key)) is not None] for key in state}
    if unknown := [key for key, targets in matches.items() if len(targets) != 1]:
        raise CheckpointError(f"looks like a {source.name} checkpoint, but has unknown keys: {some(unknown)}")
    targets = {key: target for key, (target,) in matches.items() if target != formats.DROP}
    if twice := [key for key, count in Counter(targets.values()).items() if count > 1]:
        raise CheckpointError(f"two keys of the file stand for one parameter: {some(twice)}")
    return {target: state[key] for key, target in targets.items()}


def match(rule: formats.Rule, key: str) -> str | None:
    """What `key` is called here by this rule, or None if the rule is not about it."""
    found = re.fullmatch(rule.pattern, key)
    return found.expand(rule.target) if found else None


def infer_variant(state: State) -> Variant:
    """The architecture that these shapes belong to; only the window leaves no trace. Raises CheckpointError."""
    dims = four(state[f"patch_embeds.{s}.proj.weight"].shape[0] for s in stages(state))
    depths = four(len({key.split(".")[2] for key in state if key.startswith(f"blocks.{s}.")}) for s in range(4))
    kind: Kind = "svt" if any(key.endswith("attn.qkv.weight") for key in state) else "pcpvt"
    hidden = (state.get(f"blocks.{s}.0.mlp.fc1.weight") for s in range(4))
    ratios = four(0 if fc1 is None else fc1.shape[0] // dim for fc1, dim in zip(hidden, dims, strict=True))
    reductions = four(reduction(state, s) for s in range(4))
    heads = four(max(1, dim // CHANNELS_PER_HEAD[kind]) for dim in dims)
    return Variant(dims, depths, heads, ratios, reductions, window=WINDOW if kind == "svt" else None)


def stages(state: State) -> range:
    """The four stages. Raises CheckpointError if one has no patch embedding."""
    missing = [key for s in range(4) if (key := f"patch_embeds.{s}.proj.weight") not in state]
    if missing:
        raise CheckpointError(f"lacks {some(missing)}")
    return range(4)


def reduction(state: State, stage: int) -> int:
    """The side of a stage's sub-sampling convolution; 1 where there is none."""
    convs = (t for key, t in state.items() if re.fullmatch(rf"blocks\.{stage}\.\d+\.attn\.sr\.weight", key))
    return next((int(tensor.shape[-1]) for tensor in convs), 1)


def four(values: Iterable[int]) -> Four:
    """Four values as a tuple of known length."""
    a, b, c, d = values
    return a, b, c, d


def build(checkpoint: Checkpoint) -> Classifier:
    """The network with the checkpoint's weights, float32, in eval mode. Raises CheckpointError, naming the keys."""
    with torch.device("meta"):
        network = Classifier(checkpoint.variant, checkpoint.family, checkpoint.classes)
    wanted = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    given = {key: tuple(tensor.shape) for key, tensor in checkpoint.state.items()}
    complaints = [
        *(f"{key} is missing" for key in wanted if key not in given),
        *(f"{key} is unexpected" for key in given if key not in wanted),
        *(f"{k} is {given[k]}, not {wanted[k]}" for k in wanted if k in given and given[k] != wanted[k]),
    ]
    if complaints:
        raise CheckpointError(
            f"does not fit the network it resembles, {closest(checkpoint.variant)}: {some(complaints)}"
        )
    network.load_state_dict({key: tensor.float() for key, tensor in checkpoint.state.items()}, assign=True)
    return network.eval().requires_grad_(requires_grad=False)


def closest(variant: Variant) -> str:
    """The name of the row that shares most with `variant`."""

    def shared(row: Variant) -> int:
        pairs = zip(
            row.dims + row.depths + row.mlp_ratios, variant.dims + variant.depths + variant.mlp_ratios, strict=True
        )
        return sum(mine == other for mine, other in pairs) + 2 * (row.kind == variant.kind)

    return max(VARIANTS, key=lambda name: shared(VARIANTS[name]))


def save(checkpoint: Checkpoint, path: Path, *, half: bool = False) -> None:
    """Writes a checkpoint as safetensors, with all that its keys alone would not tell."""
    metadata = {FAMILY_KEY: json.dumps(asdict(checkpoint.family)), CROP_KEY: str(checkpoint.crop), "format": "pt"}
    if checkpoint.labels:
        metadata[LABELS_KEY] = json.dumps(checkpoint.labels)
    dtype = torch.float16 if half else torch.float32
    save_file({key: t.to(dtype).contiguous() for key, t in checkpoint.state.items()}, path, metadata)


def some(names: Iterable[str]) -> str:
    """The first few names of many, for a message."""
    names = list(names)
    shown = ", ".join(names[:SHOWN])
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return shown + more


def known_formats() -> str:
    """The formats' names, for a message."""
    return ", ".join(known.name for known in formats.FORMATS)
