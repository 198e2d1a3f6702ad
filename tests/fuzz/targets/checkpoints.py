"""A checkpoint file of any kind, read with and without tolerance of unknown classes."""

import tempfile
from pathlib import Path

from tests.fuzz.target import Target
from twins.checkpoints import checkpoint
from twins.errors import CheckpointError

FILE = Path(tempfile.mkdtemp()) / "weights.pth"


def run(data: bytes) -> None:
    """Read a file, and build its network."""
    read(data, FILE)


def read(data: bytes, path: Path) -> None:
    """Read these bytes as a file, and build its network."""
    path.write_bytes(data)
    for tolerant in (False, True):
        checkpoint.build(checkpoint.load(path, tolerant=tolerant))


TARGET = Target(run, (CheckpointError,), max_bytes=2**14, max_memory_mb=1024)
