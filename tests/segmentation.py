"""Segmentation checkpoints for tests: a tiny network and the networks of the golden cases."""

from pathlib import Path

import torch

from tests.golden import cases
from tests.golden.cases import seeded_state
from twins.network.backbone import Backbone
from twins.network.heads.fpn import FpnHead, Pyramid
from twins.network.heads.segment import Segmenter
from twins.network.variants import SVT_PATTERN, Family, Variant

TINY = Variant((32, 32, 64, 64), (2, 1, 1, 1), (1, 1, 2, 2), (2, 2, 2, 2), pattern=SVT_PATTERN)
CLASSES = 5


def tiny(folder: Path, classes: int = CLASSES) -> Path:
    """Write the checkpoint of a network with a few thousand weights."""
    with torch.device("meta"):
        network = Segmenter(Backbone(TINY, Family(stage_norms=True)), Pyramid(TINY.dims, 32), FpnHead(32, 16, classes))
    keys = [(key, tuple(value.shape)) for key, value in network.state_dict().items()]
    path = folder / f"tiny-{classes}.pth"
    torch.save({"state_dict": seeded_state(keys)}, path)
    return path


def golden(case: cases.Case, folder: Path) -> Path:
    """Write the checkpoint of a golden case in its own format."""
    path = folder / f"{case.name}.pth"
    torch.save({"meta": {"epoch": 1}, "state_dict": case.state(), "optimizer": {}}, path)
    return path


def model_name(facts: dict) -> str:
    """Return the name of a case's model in the zoo."""
    if "model" in facts:
        return facts["model"]
    kind, head = ("pcpvt" if "pcpvt" in facts["config"] else "svt"), ("fpn" if "fpn" in facts["config"] else "upernet")
    return f"twins_{kind}_small_{head}_ade20k"
