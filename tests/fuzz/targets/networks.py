"""What a checkpoint says of its network: the names and shapes of its parameters, and its metadata of any project.

An input is JSON: `{"tensors": {NAME: SHAPE}, "metadata": {NAME: TEXT}, "meta": {…}, "timm": {…}}`.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tests.fuzz.target import Target
from twins.checkpoints import checkpoint, project_metadata
from twins.checkpoints.facts import with_timm_config
from twins.errors import CheckpointError

CONFIG = Path(tempfile.mkdtemp()) / "config.json"
MOST_VALUES = 2**20


def state(shapes: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return zeros of these shapes, without those that PyTorch cannot have or that are too large."""
    found = {}
    for name, shape in shapes.items():
        lengths = [each for each in shape if type(each) is int and 0 <= each < MOST_VALUES]
        tensor = torch.zeros(()).expand(lengths[:5])
        if tensor.numel() <= MOST_VALUES:
            found[name] = tensor
    return found


def run(data: bytes) -> None:
    """Recognise a checkpoint and build its network."""
    try:
        given = json.loads(data)
        shapes = {str(name): list(shape) for name, shape in given["tensors"].items()}
        metadata = {str(name): str(text) for name, text in given.get("metadata", {}).items()}
        config = json.dumps(given.get("timm"))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return
    CONFIG.write_text(config, "utf-8")
    declared = {**metadata, **project_metadata.describe(given, {})}
    try:
        found = checkpoint.recognise(state(shapes), declared)
    except IndexError:  # `load` translates it
        return
    checkpoint.build(with_timm_config(found, CONFIG))


TARGET = Target(run, (CheckpointError,), max_bytes=2**14, max_memory_mb=1024)
