"""A checkpoint: its format is recognised, its parameters are renamed, and its network is built strictly."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save as serialise
from torch import Tensor, nn

from twins.card import HeadName
from twins.checkpoints import architecture, formats, metadata
from twins.checkpoints.facts import TIMM_CONFIG, Facts, closest, with_timm_config
from twins.checkpoints.formats import Format
from twins.checkpoints.metadata import Declared
from twins.checkpoints.reading import State, read, shorten
from twins.errors import CheckpointError
from twins.network.heads.segment import Segmenter
from twins.network.heads.table import HEADS
from twins.network.variants import DENSE_STAGES, Variant

BACKBONE = "backbone."  # the prefix of the backbone's parameters in a segmentation network

REPEATED_BYTES = 2**29  # that tensors may always have in all, as those of the largest published networks do


@dataclass(frozen=True)
class Checkpoint(Facts):
    """A recognised checkpoint, whose parameters have this project's names."""

    state: State


def load(path: Path, *, tolerant: bool = False) -> Checkpoint:
    """Return the checkpoint in the file at `path`, in any supported format.

    `tolerant` replaces objects of unknown classes by inert ones instead of refusing the file. No code from the file
    runs in either case. Raises CheckpointError.
    """
    state, declared = read(path, tolerant=tolerant)
    try:
        return with_timm_config(recognise(state, declared), path.parent / TIMM_CONFIG)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except IndexError as error:
        raise CheckpointError(f"{path}: a parameter has fewer dimensions than its name requires") from error


def recognise(state: State, declared: Mapping[str, str]) -> Checkpoint:
    """Return what keys, shapes and metadata say: format, variant, head and class count. Raises CheckpointError."""
    length = formats.strip_prefixes(list(state))
    state = {key[length:]: tensor for key, tensor in state.items()}
    found = formats.recognise(list(state))
    if found is None:
        raise CheckpointError(
            f"this is not a Twins checkpoint in a known format ({known_formats()}); its keys look like {shorten(state)}"
        )
    state = rename(state, found)
    variant = architecture.declared(architecture.infer_variant(backbone_state(state)), declared)
    head = infer_head(state)
    check_stages(variant, head)
    return Checkpoint(
        state=state,
        format=found.name,
        variant=variant,
        classes=HEADS[head].classes(state),
        head=head,
        declared=metadata.parse(declared, Declared(found.families[variant.kind], found.crop)),
        parameters=sum(tensor.numel() for tensor in state.values()),
    )


def rename(state: State, source: Format) -> State:
    """Return the same tensors under this project's names. Raises CheckpointError unless every key has one rule."""
    matches = {key: [(rule, m) for rule in source.rules if (m := re.fullmatch(rule.pattern, key))] for key in state}
    if unknown := [key for key, found in matches.items() if len(found) != 1]:
        raise CheckpointError(
            f"the file looks like a {source.name} checkpoint, but has unknown keys: {shorten(unknown)}"
        )
    renamed = [pair for key, ((rule, found),) in matches.items() for pair in apply(rule, found, state[key])]
    if twice := [key for key, count in Counter(key for key, _ in renamed).items() if count > 1]:
        raise CheckpointError(f"two keys of the file stand for one parameter: {shorten(twice)}")
    return dict(renamed)


def apply(rule: formats.Rule, found: re.Match[str], tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield the parameters that a key and its tensor become: one, several that share the rows, or none."""
    if rule.target == formats.DROP:
        return
    total = sum(rule.parts)
    if tensor.ndim and tensor.shape[0] % total:
        raise CheckpointError(f"{found[0]} has {tensor.shape[0]} rows, which do not divide into {total} parts")
    shares = [tensor.shape[0] * part // total for part in rule.parts] if len(rule.parts) > 1 else []
    for target, part in zip(rule.targets, tensor.split(shares) if shares else (tensor,), strict=True):
        yield found.expand(target), part


def infer_head(state: State) -> HeadName:
    """Return the head whose parameters are present. Raises CheckpointError."""
    found = next((name for name, head in HEADS.items() if head.recognised_by in state), None)
    if found is None or HEADS[found].classes_in not in state:
        wanted = ", ".join(head.recognised_by for head in HEADS.values())
        raise CheckpointError(f"has no known head (one of {wanted}); a backbone alone cannot be served")
    return found


def check_stages(variant: Variant, head: HeadName) -> None:
    """Raise CheckpointError if a head needs maps that the backbone does not have."""
    if variant.stages not in HEADS[head].stages:
        raise CheckpointError(
            f"has {variant.stages} stages; a network with the head {head} needs the maps of {DENSE_STAGES}"
        )


def backbone_state(state: State) -> State:
    """Return the backbone's parameters without their prefix."""
    inner = {key.removeprefix(BACKBONE): tensor for key, tensor in state.items() if key.startswith(BACKBONE)}
    return inner or state


def build(checkpoint: Checkpoint) -> nn.Module:
    """Return the network with the checkpoint's weights in float32 and eval mode.

    Raises CheckpointError, which names the keys that do not fit.
    """
    network = skeleton(checkpoint)
    wanted = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    given = {key: tuple(tensor.shape) for key, tensor in checkpoint.state.items()}
    complaints = [
        *(f"{key} is missing" for key in wanted if key not in given),
        *(f"{key} is unexpected" for key in given if key not in wanted),
        *(f"{k} is {given[k]}, not {wanted[k]}" for k in wanted if k in given and given[k] != wanted[k]),
    ]
    if complaints:
        raise CheckpointError(
            f"does not fit the network that it resembles most, {closest(checkpoint.variant)}: {shorten(complaints)}"
        )
    check_memory(checkpoint.state)
    if broken := [key for key, tensor in checkpoint.state.items() if not torch.isfinite(tensor).all()]:
        raise CheckpointError(f"holds values that are not finite numbers, in {shorten(broken)}")
    network.load_state_dict({key: tensor.float() for key, tensor in checkpoint.state.items()}, assign=True)
    if isinstance(network, Segmenter):
        network.fold()
    return network.eval().requires_grad_(requires_grad=False)


def check_memory(state: State) -> None:
    """Raise CheckpointError if tensors repeat the bytes of the file, by their strides or by sharing a storage.

    Beyond REPEATED_BYTES they would take memory that the file does not have, as soon as they are converted.
    """
    storages = {each.data_ptr(): each.nbytes() for each in (tensor.untyped_storage() for tensor in state.values())}
    needed, available = sum(tensor.nbytes for tensor in state.values()), sum(storages.values())
    if needed > max(available, REPEATED_BYTES):
        raise CheckpointError(f"repeats the values of its tensors: they need {needed} bytes; the file has {available}")


def skeleton(checkpoint: Checkpoint) -> nn.Module:
    """Return the network without values. Raises CheckpointError if a parameter that determines it is missing."""
    try:
        with torch.device("meta"):
            return HEADS[checkpoint.head].build(checkpoint.variant, checkpoint.declared.family, checkpoint.state)
    except KeyError as error:
        raise CheckpointError(f"lacks {error.args[0]}") from error


def save(checkpoint: Checkpoint, path: Path, *, half: bool = False) -> None:
    """Write a checkpoint as safetensors, with what its keys alone do not say as metadata. Raises CheckpointError."""
    state = {key: stored(key, tensor, half=half) for key, tensor in checkpoint.state.items()}
    try:
        # `save_file` would let nobody but its user read the file: not the user of a container that is to serve it
        facts = metadata.write(checkpoint.declared) | architecture.hidden(checkpoint.variant)
        path.write_bytes(serialise(state, {**facts, "format": "pt"}))
    except (SafetensorError, OSError) as error:
        advice = "Is the disk full or read-only?" if path.parent.is_dir() else "Its directory does not exist."
        raise CheckpointError(f"{path}: cannot write the file. {advice}") from error


def stored(key: str, tensor: Tensor, *, half: bool) -> Tensor:
    """Return a copy of a parameter as it is written. Running statistics stay float32, whose range they need."""
    narrow = half and not key.endswith(("running_mean", "running_var"))
    return tensor.to(torch.float16 if narrow else torch.float32, copy=True).contiguous()


def known_formats() -> str:
    """Return the names of the formats, for a message."""
    return ", ".join(known.name for known in formats.FORMATS)
