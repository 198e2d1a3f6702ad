"""The golden cases: their content, and the comparison with a reference output."""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from tests.golden import seeded

FOLDER = Path(__file__).parent
TOLERANCE = 2e-4  # of the reference output's standard deviation


@dataclass(frozen=True)
class Case:
    """One case: the keys of a checkpoint, inputs, and outputs of the reference."""

    name: str
    facts: dict
    expected: dict[str, NDArray]

    def state(self) -> dict[str, torch.Tensor]:
        """Return the tensors of the checkpoint under the keys of its format."""
        return seeded_state(self.facts["keys"])

    def images(self) -> dict[str, bytes]:
        """Return the images of the case as PNG files, by their size as in the names of the outputs."""
        found = {}
        for entry in self.facts["pictures"]:
            file = io.BytesIO()
            Image.fromarray(seeded.image(entry["name"], entry["height"], entry["width"])).save(file, "png")
            found[f"{entry['height']}x{entry['width']}"] = file.getvalue()
        return found

    def assert_close(self, output: str, found: torch.Tensor) -> None:
        """Compare an output with the reference output of this name."""
        assert tuple(found.shape) == tuple(self.expected[f"{output}.shape"])
        values = found.float().flatten().numpy()[self.expected[f"{output}.index"]]
        worst = np.abs(values - self.expected[f"{output}.value"]).max()
        assert worst <= TOLERANCE * self.expected[f"{output}.std"]


def seeded_state(keys: list) -> dict[str, torch.Tensor]:
    """Return a state dict of seeded tensors for a list of (key, shape)."""
    return {key: torch.from_numpy(np.asarray(seeded.tensor(key, tuple(shape)))) for key, shape in keys}


def read(name: str) -> Case:
    """Return the case of this name."""
    return Case(name, json.loads((FOLDER / f"{name}.json").read_text()), dict(np.load(FOLDER / f"{name}.npz")))


def named(prefix: str) -> list[str]:
    """Return the names of all cases that start with `prefix`."""
    return sorted(path.stem for path in FOLDER.glob(f"{prefix}*.json"))
