"""A checkpoint file: read without running code from it, recognised, renamed, and its network built.

Reading is `read`; what the weights say about themselves is `recognise`; a network is `build`, strictly.
"""

import argparse
import json
import pickle
import re
import struct
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core import multiarray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from twins import formats
from twins.errors import CheckpointError
from twins.formats import Format
from twins.heads.classify import Classifier
from twins.inert import tolerant_pickle
from twins.variants import CHANNELS_PER_HEAD, VARIANTS, WINDOW, Family, Four, Kind, Variant

State = dict[str, Tensor]

SAFE_GLOBALS: list[Any] = [
    argparse.Namespace,  # the options in the authors' and timm's training checkpoints
    np.dtype,
    np.dtypes.Float64DType,
    np.dtypes.Float32DType,
    np.dtypes.Int64DType,
    (multiarray.scalar, "numpy.core.multiarray.scalar"),  # numpy's name for it before its version 2
    (multiarray.scalar, "numpy._core.multiarray.scalar"),
]
"""What training scripts leave beside the weights and is harmless to build."""

UNREADABLE = (
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    OverflowError,
    MemoryError,  # a damaged length, not a full machine: nothing has been built yet
    OSError,
    ImportError,
    struct.error,
    zipfile.BadZipFile,
)
"""What PyTorch's reader raises on files that are none of its own."""

FAMILY_KEY, LABELS_KEY, CROP_KEY = "twins.family", "twins.labels", "twins.crop"  # of a safetensors file's metadata
SHOWN = 6  # keys named in a message
NESTING = 4  # containers about a state dict


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


def read(path: Path, *, tolerant: bool = False) -> tuple[State, Mapping[str, str]]:
    """The tensors in a file and, of a safetensors file, its metadata. Raises CheckpointError."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        if path.suffix == ".safetensors":
            return read_safetensors(path)
        return unwrap(read_pickle(path, tolerant=tolerant)), {}
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def read_safetensors(path: Path) -> tuple[State, Mapping[str, str]]:
    """Tensors and metadata of a safetensors file."""
    try:
        with safe_open(path, framework="pt") as file:
            # copied out of the mapped file: whoever writes to it later must not reach the network
            return {key: file.get_tensor(key).clone() for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"not a readable safetensors file ({error})") from error


def read_pickle(path: Path, *, tolerant: bool) -> object:
    """Whatever a `.pth`, `.pt` or `.bin` file holds; nothing in it is executed."""
    try:
        with torch.serialization.safe_globals(SAFE_GLOBALS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        if found is None:
            raise CheckpointError("not a PyTorch checkpoint") from error
        if not tolerant:
            raise CheckpointError(
                f"holds an object of the class {found[1]} beside the weights, which only code from the file could "
                f"rebuild. `twins convert {path.name} {path.stem}.safetensors` keeps the weights and leaves it out."
            ) from error
        return read_inert(path)
    except UNREADABLE as error:
        raise CheckpointError(f"not a readable PyTorch checkpoint ({first_line(error)})") from error


def read_inert(path: Path) -> object:
    """As `read_pickle`, with an empty shell for every object that is neither a tensor nor a plain container."""
    try:
        return torch.load(path, map_location="cpu", weights_only=False, pickle_module=tolerant_pickle)
    except (*UNREADABLE, pickle.UnpicklingError) as error:
        raise CheckpointError(f"not a readable PyTorch checkpoint ({first_line(error)})") from error


def first_line(error: Exception) -> str:
    """An error's text without the advice that PyTorch appends."""
    return str(error).partition("\n")[0]


def unwrap(content: object) -> State:
    """The state dict in a training script's container, or the content itself if it is one."""
    for _ in range(NESTING):
        if not isinstance(content, Mapping):
            raise CheckpointError(f"holds a {type(content).__name__}, not a state dict; save `model.state_dict()`")
        inner = next((content[name] for name in formats.CONTAINERS if isinstance(content.get(name), Mapping)), None)
        if inner is None:
            return {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
        content = inner
    raise CheckpointError("holds containers within containers, and no state dict")


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
    family, crop, labels = declared(metadata, found.families[variant.kind], found.crop)
    if "head.weight" not in state:
        raise CheckpointError("has no classification head (head.weight): a bare backbone cannot be served")
    return Checkpoint(
        state=state,
        format=found.name,
        variant=variant,
        family=family,
        classes=state["head.weight"].shape[0],
        crop=crop,
        labels=labels,
    )


def declared(metadata: Mapping[str, str], family: Family, crop: float) -> tuple[Family, float, tuple[str, ...] | None]:
    """What `save` wrote beside the weights, or these defaults. Raises CheckpointError."""
    try:
        family = replace(family, **json.loads(metadata.get(FAMILY_KEY, "{}")))
        crop = float(metadata.get(CROP_KEY, crop))
        labels = json.loads(metadata.get(LABELS_KEY, "[]"))
        if not 0 < crop <= 1:
            raise ValueError(f"a crop of {crop}")
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise ValueError("labels that are no list of names")
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"its metadata is damaged: {error}") from error
    return family, crop, tuple(labels) or None


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
    heads = four(max(1, dim // CHANNELS_PER_HEAD[kind]) for dim in dims)
    if 0 in dims or any(dim % count for dim, count in zip(dims, heads, strict=True)):
        raise CheckpointError(
            f"its stages are {dims} channels wide, which heads of {CHANNELS_PER_HEAD[kind]} do not divide"
        )
    hidden = (state.get(f"blocks.{s}.0.mlp.fc1.weight") for s in range(4))
    ratios = four(0 if fc1 is None else fc1.shape[0] // dim for fc1, dim in zip(hidden, dims, strict=True))
    reductions = four(reduction(state, s) for s in range(4))
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


def with_labels(checkpoint: Checkpoint, labels: tuple[str, ...] | None) -> Checkpoint:
    """The same checkpoint with these class names."""
    return replace(checkpoint, labels=labels)


def save(checkpoint: Checkpoint, path: Path, *, half: bool = False) -> None:
    """Writes a checkpoint as safetensors, with all that its keys alone would not tell. Raises CheckpointError."""
    metadata = {FAMILY_KEY: json.dumps(asdict(checkpoint.family)), CROP_KEY: str(checkpoint.crop), "format": "pt"}
    if checkpoint.labels:
        metadata[LABELS_KEY] = json.dumps(checkpoint.labels)
    dtype = torch.float16 if half else torch.float32
    try:
        save_file({key: t.to(dtype).contiguous() for key, t in checkpoint.state.items()}, path, metadata)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: cannot write ({error})") from error


def some(names: Iterable[str]) -> str:
    """The first few names of many, for a message."""
    names = list(names)
    shown = ", ".join(names[:SHOWN])
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return shown + more


def known_formats() -> str:
    """The formats' names, for a message."""
    return ", ".join(known.name for known in formats.FORMATS)
