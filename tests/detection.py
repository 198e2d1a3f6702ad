"""Detection checkpoints for tests, and the comparison of detections with those of a reference."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tests.golden import cases, names
from tests.segmentation import TINY
from twins.checkpoints import checkpoint
from twins.network.ops import overlaps
from twins.preprocessing import Preprocessing

SAME_PLACE, SAME_SCORE, SAME_PIXELS = 0.99, 1e-4, 0.999
CLASSES, SIDE = 3, 96

SCALE_SHIFT = {
    "rpn_head.rpn_cls.weight": (0.1, 0.0),
    "rpn_head.rpn_reg.weight": (0.03, 0.0),
    "roi_head.bbox_head.fc_cls.weight": (0.3, 0.0),
    "roi_head.bbox_head.fc_reg.weight": (0.1, 0.0),
    "roi_head.mask_head.conv_logits.weight": (0.1, 0.0),
    "bbox_head.retina_cls.weight": (0.1, 0.0),
    "bbox_head.retina_cls.bias": (1.0, -5.2),
    "bbox_head.retina_reg.weight": (0.03, 0.0),
}
"""Of seeded weights, so that random networks find some objects instead of none or all."""


def tiny(folder: Path, head: str = "maskrcnn") -> Path:
    """Write the checkpoint of a small network of three classes, whose images have a short side of 96 pixels."""
    network = names.detector(TINY, head, classes=CLASSES, width=32, hidden=64)
    found = cases.seeded_state([(key, tuple(value.shape)) for key, value in network.state_dict().items()])
    recognised = checkpoint.recognise(scaled(found, SCALE_SHIFT), {})
    declared = replace(recognised.declared, preprocessing=Preprocessing(size=SIDE), labels=("cat", "dog", "bird"))
    path = folder / f"tiny-{head}.safetensors"
    checkpoint.save(replace(recognised, declared=declared), path)
    return path


def scaled(state: dict[str, torch.Tensor], scale_shift: dict) -> dict[str, torch.Tensor]:
    """Return the same tensors, some of them scaled and shifted."""
    return {
        key: tensor * scale_shift[key][0] + scale_shift[key][1] if key in scale_shift else tensor
        for key, tensor in state.items()
    }


def golden(case: cases.Case, folder: Path) -> Path:
    """Write the checkpoint of a golden case in its own format."""
    path = folder / f"{case.name}.pth"
    torch.save(
        {"meta": {"epoch": 12}, "state_dict": scaled(case.state(), case.facts["scale_shift"]), "optimizer": {}}, path
    )
    return path


def partners(expected: dict[str, NDArray], found: dict[str, NDArray]) -> NDArray[np.int64]:
    """Return for each reference detection the index of the same one among those that were found, or -1.

    Both have `boxes` N 4, `scores` N and `labels` N.
    """
    place = overlaps(torch.as_tensor(expected["boxes"]), torch.as_tensor(found["boxes"])).numpy()
    score = np.abs(expected["scores"][:, None] - found["scores"][None]) < SAME_SCORE
    label = expected["labels"][:, None] == found["labels"][None]
    place = np.where(score & label, place, 0)
    return np.where(place.max(axis=1) > SAME_PLACE, place.argmax(axis=1), -1)
