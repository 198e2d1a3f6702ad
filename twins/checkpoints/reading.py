"""Reading of a checkpoint file without running code from it: its tensors and its metadata."""

import argparse
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core import multiarray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from twins.checkpoints import claims, formats, inert, project_metadata
from twins.checkpoints.file_kind import DOWNLOAD_AGAIN, NO_VALUES, SAVE_STATE_DICT, identify
from twins.checkpoints.inert import Inert, tolerant_pickle
from twins.errors import CheckpointError

State = dict[str, Tensor]

SAFE_GLOBALS: list[Any] = [
    argparse.Namespace,  # the options in the authors' and timm's training checkpoints
    np.dtype,
    np.dtypes.Float64DType,
    np.dtypes.Float32DType,
    np.dtypes.Int64DType,
    (multiarray.scalar, "numpy.core.multiarray.scalar"),  # its name before numpy 2
    (multiarray.scalar, "numpy._core.multiarray.scalar"),
]
"""Classes that training scripts store next to the weights and that are harmless to build."""

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
    MemoryError,  # caused by a damaged length, before anything is allocated
    OSError,
    ImportError,
    struct.error,
    zipfile.BadZipFile,
    pickle.UnpicklingError,
)
"""Errors that PyTorch raises for files that it did not write."""

NOT_READABLE = f"this is not a PyTorch checkpoint, or it is damaged. {DOWNLOAD_AGAIN}"

NESTING = 4  # containers around a state dict
SHOWN = 6  # keys named in a message


def read(path: Path, *, tolerant: bool = False) -> tuple[State, Mapping[str, str]]:
    """Return the tensors of a file, and its metadata under the keys of `twins.checkpoints.metadata`.

    `tolerant` replaces objects of unknown classes by inert ones instead of refusing the file.
    Raises CheckpointError.
    """
    try:
        if identify(path) == "safetensors":
            return read_safetensors(path)
        claims.check(path)
        content = read_pickle(path, tolerant=tolerant)
        state = unwrap(content)
        statistics = {key: state.pop(key) for key in list(state) if project_metadata.is_preprocessor_buffer(key)}
        return state, project_metadata.describe(content, statistics)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except UNREADABLE as error:  # whatever the objects in a file are, using them must end as reading them does
        raise CheckpointError(f"{path}: {NOT_READABLE}") from error


def read_safetensors(path: Path) -> tuple[State, Mapping[str, str]]:
    """Return the tensors and the metadata of a safetensors file."""
    try:
        with safe_open(path, framework="pt") as file:
            # cloned from the mapped file, so that a later write to the file does not change the network
            return {key: file.get_tensor(key).clone() for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"the safetensors file is damaged or incomplete. {DOWNLOAD_AGAIN}") from error


def read_pickle(path: Path, *, tolerant: bool) -> object:
    """Return the content of a `.pth`, `.pt` or `.bin` file. Nothing in it is executed."""
    try:
        with (
            path.open("rb") as file,
            torch.serialization.safe_globals(SAFE_GLOBALS),
            warnings.catch_warnings(action="ignore"),  # PyTorch's warnings are for programmers
        ):
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        if found is None:
            raise CheckpointError(NOT_READABLE) from error
        content = read_inert(path)
        if tolerant:
            return content
        unwrap(content)  # raises if the weights are not there either, so that no command is advised in vain
        raise CheckpointError(
            f"holds an object of the class {found[1]}, which cannot be rebuilt without running code. "
            f"`twins convert {path.name} {path.stem}.safetensors` extracts the weights without running any."
        ) from error
    except UNREADABLE as error:
        raise CheckpointError(NOT_READABLE) from error


def read_inert(path: Path) -> object:
    """Return the content of a file as `read_pickle` does, with inert objects of all classes that are not allowed."""
    try:
        with path.open("rb") as file, warnings.catch_warnings(action="ignore"):  # PyTorch compares the classes' sources
            return torch.load(file, map_location="cpu", weights_only=False, pickle_module=tolerant_pickle)
    except UNREADABLE as error:
        raise CheckpointError(NOT_READABLE) from error


def unwrap(content: object) -> State:
    """Return the state dict in the container of a training script, in a pickled model, or that is the content itself.

    Raises CheckpointError if there is none.
    """
    for _ in range(NESTING):
        if isinstance(content, Inert) and inert.is_module(content):
            return module_state(content)
        if isinstance(content, Inert):
            raise CheckpointError(
                f"holds an object of the class {content.stands_for} without weights. {SAVE_STATE_DICT}"
            )
        if not isinstance(content, Mapping):
            raise CheckpointError(f"holds a {type(content).__name__} and no state dict. {SAVE_STATE_DICT}")
        inner = next((content[name] for name in formats.CONTAINERS if holds_weights(content.get(name))), None)
        if inner is None:
            return top_level_state(content)
        content = inner
    raise CheckpointError(f"holds containers within containers and no state dict. {SAVE_STATE_DICT}")


def holds_weights(value: object) -> bool:
    """Return whether a value of a container is a mapping or a pickled model."""
    return isinstance(value, Mapping) or inert.is_module(value)


def module_state(module: Inert) -> State:
    """Return what the state dict of a pickled model would be, and the buffers of its preprocessor."""
    return check_tensors(
        {
            name: value
            for name, value, persistent in inert.named_values(module)
            if isinstance(value, Tensor) and (persistent or project_metadata.is_preprocessor_buffer(name))
        }
    )


def top_level_state(content: Mapping[Any, Any]) -> State:
    """Return the tensors of a mapping. Raises CheckpointError if it has none."""
    state = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if state:
        return check_tensors(state)
    if not content:
        raise CheckpointError(f"holds an empty state dict. {SAVE_STATE_DICT}")
    known = ", ".join(formats.CONTAINERS)
    candidates = [str(key) for key, value in content.items() if is_state(value)]
    advice = SAVE_STATE_DICT
    if candidates:
        advice = f"Save what looks like a state dict alone: `torch.save(content[{candidates[0]!r}], PATH)`."
    raise CheckpointError(
        f"has weights neither at the top nor under {known}; its keys are {shorten(content)}. {advice}"
    )


def is_state(value: object) -> bool:
    """Return whether a value is a mapping with tensors, or a pickled model."""
    is_mapping = isinstance(value, Mapping) and any(isinstance(each, Tensor) for each in value.values())
    return is_mapping or inert.is_module(value)


def check_tensors(state: State) -> State:
    """Return the same tensors. Raises CheckpointError if any is quantised, complex, sparse or without values."""
    for key, tensor in state.items():
        if tensor.is_meta or tensor.is_quantized or tensor.is_complex() or tensor.layout is not torch.strided:
            raise CheckpointError(f"{key} {NO_VALUES}")
    return state


def shorten(names: Iterable[object]) -> str:
    """Return the first few names, and the number of further ones, for a message."""
    shown = [str(name) for name in names]
    more = f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    return ", ".join(shown[:SHOWN]) + more
