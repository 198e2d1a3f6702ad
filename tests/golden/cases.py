"""The golden cases: what each holds, and how its output is compared."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tests.golden import seeded

FOLDER = Path(__file__).parent
TOLERANCE = 2e-4  # of the reference output's standard deviation


@dataclass(frozen=True)
class Case:
    """One case: a checkpoint's keys, inputs, and the reference's outputs."""

    name: str
    facts: dict
    expected: dict[str, NDArray]

    def state(self) -> dict[str, torch.Tensor]:
        """The checkpoint's tensors under its own format's keys."""
        return seeded_state(self.facts["keys"])

    def assert_close(self, output: str, found: torch.Tensor) -> None:
        """`found` is the reference's output of that name."""
        assert tuple(found.shape) == tuple(self.expected[f"{output}.shape"])
        values = found.float().flatten().numpy()[self.expected[f"{output}.index"]]
        worst = np.abs(values - self.expected[f"{output}.value"]).max()
        assert worst <= TOLERANCE * self.expected[f"{output}.std"]


def seeded_state(keys: list) -> dict[str, torch.Tensor]:
    """A state dict of seeded tensors for a list of (key, shape)."""
    return {key: torch.from_numpy(np.asarray(seeded.tensor(key, tuple(shape)))) for key, shape in keys}


def read(name: str) -> Case:
    """The case of that name."""
    return Case(name, json.loads((FOLDER / f"{name}.json").read_text()), dict(np.load(FOLDER / f"{name}.npz")))


def named(prefix: str) -> list[str]:
    """The names of all cases that start with `prefix`."""
    return sorted(path.stem for path in FOLDER.glob(f"{prefix}*.json"))
