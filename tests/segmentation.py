"""Segmentation checkpoints for services under test: a tiny network in milliseconds, and the golden cases' own."""

from pathlib import Path

import torch

from tests.golden import cases
from tests.golden.cases import seeded_state
from twins.network.backbone import Trunk
from twins.network.heads.fpn import FpnHead, Pyramid
from twins.network.heads.segment import Segmenter
from twins.network.variants import Family, Variant

TINY = Variant((32, 32, 64, 64), (2, 1, 1, 1), (1, 1, 2, 2), (2, 2, 2, 2), window=7)
CLASSES = 5


def tiny(folder: Path, classes: int = CLASSES) -> Path:
    """A network of a few thousand weights, which the service reads off the file's shapes."""
    with torch.device("meta"):
        network = Segmenter(Trunk(TINY, Family(stage_norms=True)), Pyramid(TINY.dims, 32), FpnHead(32, 16, classes))
    keys = [(key, tuple(value.shape)) for key, value in network.state_dict().items()]
    path = folder / f"tiny-{classes}.pth"
    torch.save({"state_dict": seeded_state(keys)}, path)
    return path


def golden(case: cases.Case, folder: Path) -> Path:
    """A case's checkpoint in its own format."""
    path = folder / f"{case.name}.pth"
    torch.save({"meta": {"epoch": 1}, "state_dict": case.state(), "optimizer": {}}, path)
    return path


def model_name(facts: dict) -> str:
    """What the zoo calls a case's model."""
    if "model" in facts:
        return facts["model"]
    kind, head = ("pcpvt" if "pcpvt" in facts["config"] else "svt"), ("fpn" if "fpn" in facts["config"] else "upernet")
    return f"twins_{kind}_small_{head}_ade20k"
