"""What a target is: a function that gets bytes, and the errors that it may raise."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

FOLDER = Path(__file__).parent
SEEDS, DICTIONARIES = FOLDER / "seeds", FOLDER / "dictionaries"

TARGETS = ("checkpoints", "heads", "images", "messages", "networks", "pickles", "requests", "tensors")
"""The modules of `tests.fuzz.targets`, by name: only a fuzzer imports them, since it instruments what they import."""


@dataclass(frozen=True)
class Target:
    """What is called with every input. Any error that is not allowed is a finding."""

    run: Callable[[bytes], object]
    allowed: tuple[type[Exception], ...] = ()
    max_bytes: int = 4096  # of an input
    max_memory_mb: int = 512  # that an input may take
    timeout_s: int = 10  # that an input may take, on a busy machine


def load(name: str) -> Target:
    """Return a target by its name."""
    target: Target = import_module(f"tests.fuzz.targets.{name}").TARGET
    return target
