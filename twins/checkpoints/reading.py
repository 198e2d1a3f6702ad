"""Reads a checkpoint file without running code from it: its tensors, and what a safetensors file says beside them."""

import argparse
import json
import pickle
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core import multiarray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from twins.checkpoints import formats, metadata
from twins.checkpoints.inert import tolerant_pickle
from twins.errors import CheckpointError

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
    RecursionError,
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

NESTING = 4  # containers about a state dict


def read(path: Path, *, tolerant: bool = False) -> tuple[State, Mapping[str, str]]:
    """The tensors in a file and what it says beside them, under the keys above. Raises CheckpointError."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        if path.suffix == ".safetensors":
            return read_safetensors(path)
        content = read_pickle(path, tolerant=tolerant)
        return unwrap(content), describe(content)
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
    """An error's kind and text, without the advice that PyTorch appends."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def unwrap(content: object) -> State:
    """The state dict in a training script's container, or the content itself if it is one."""
    for _ in range(NESTING):
        if not isinstance(content, Mapping):
            raise CheckpointError(f"holds a {type(content).__name__}, not a state dict; save `model.state_dict()`")
        inner = next((content[name] for name in formats.CONTAINERS if isinstance(content.get(name), Mapping)), None)
        if inner is None:
            return plain({str(key): value for key, value in content.items() if isinstance(value, Tensor)})
        content = inner
    raise CheckpointError("holds containers within containers, and no state dict")


def plain(state: State) -> State:
    """The same tensors, if they are all ordinary ones. Raises CheckpointError."""
    for key, tensor in state.items():
        if tensor.is_meta or tensor.is_quantized or tensor.is_complex() or tensor.layout is not torch.strided:
            raise CheckpointError(f"{key} is no plain tensor of numbers; save the network's ordinary state dict")
    return state


def describe(content: object) -> dict[str, str]:
    """The class names and colours that mmsegmentation leaves in `meta`: 1.x in a `dataset_meta`, 0.x in capitals."""
    meta = content.get("meta") if isinstance(content, Mapping) else None
    if not isinstance(meta, Mapping):
        return {}
    inner = meta.get("dataset_meta")
    newer: Mapping[str, Any] = inner if isinstance(inner, Mapping) else {}
    names: Any = newer.get("classes") or meta.get("CLASSES")
    colours: Any = newer.get("palette") or meta.get("PALETTE")
    found: dict[str, str] = {}
    if is_list(names, str):
        found[metadata.LABELS] = json.dumps([name.strip() for name in names])
    if is_list(colours, list | tuple) and all(is_colour(colour) for colour in colours):
        found[metadata.PALETTE] = json.dumps(["#" + bytes(colour).hex() for colour in colours])
    return found


def is_list(value: Any, kind: Any) -> bool:
    """Whether `value` is a list or tuple of such elements, and not empty."""
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(element, kind) for element in value)


def is_colour(value: Any) -> bool:
    """Whether `value` is red, green and blue, 0 to 255 each."""
    return is_list(value, int) and len(value) == 3 and all(0 <= part <= 255 for part in value)
