"""Reads a checkpoint file without running code from it: its tensors, and what a safetensors file says beside them."""

import argparse
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core import multiarray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from twins import formats
from twins.errors import CheckpointError
from twins.inert import tolerant_pickle

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

UNREADABLE = (RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError, OSError, zipfile.BadZipFile)
"""What PyTorch's reader raises on files that are none of its own."""


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
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
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
    while isinstance(content, Mapping):
        inner = next((content[name] for name in formats.CONTAINERS if isinstance(content.get(name), Mapping)), None)
        if inner is None:
            return {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
        content = inner
    raise CheckpointError(f"holds a {type(content).__name__}, not a state dict; save `model.state_dict()`")
