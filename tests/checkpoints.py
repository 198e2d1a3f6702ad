"""Write checkpoints as other projects do: with their parameter names and in their containers."""

import argparse
import re
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from tests.golden.cases import seeded_state
from twins.network.heads.classify import Classifier
from twins.network.variants import SVT_PATTERN, Family, Variant

TINY_SVT = Variant(
    (32, 32, 64, 64), (2, 2, 2, 1), (1, 1, 2, 2), (1, 1, 1, 1), reductions=(2, 2, 2, 1), pattern=SVT_PATTERN
)
TINY_PCPVT = Variant((64, 64, 64, 64), (1, 2, 1, 1), (1, 1, 1, 1), (1, 1, 1, 1), reductions=(2, 2, 2, 1))

State = dict[str, torch.Tensor]


def seeded(variant: Variant, classes: int = 1000) -> State:
    """Return random weights of a network under the names of the authors and timm."""
    with torch.device("meta"):
        network = Classifier(variant, Family(), classes)
    return seeded_state([(key, tuple(tensor.shape)) for key, tensor in network.state_dict().items()])


MMPRETRAIN_NAMES = (
    (r"(patch_embeds\.\d)\.proj", r"\1.projection"),
    (r"pos_block\.(\d)\.proj\.0", r"position_encodings.\1.proj"),
    (r"blocks\.(\d\.\d+)\.mlp\.fc1", r"stages.\1.ffn.layers.0.0"),
    (r"blocks\.(\d\.\d+)\.mlp\.fc2", r"stages.\1.ffn.layers.1"),
    (r"blocks\.", r"stages."),
    (r"norm\.(weight|bias)$", r"norm_after_stage3.\1"),
)


def mmpretrain_name(key: str) -> str:
    """Return the name of a parameter in mmpretrain."""
    if key.startswith("head."):
        return key.replace("head.", "head.fc.")
    hits = (re.sub("^" + pattern, target, key) for pattern, target in MMPRETRAIN_NAMES if re.match(pattern, key))
    return "backbone." + next(hits, key)


def hollow(state: State) -> State:
    """Return zeros of the same shapes that take no space in a file."""
    return {key: torch.zeros(()).expand(tensor.shape) for key, tensor in state.items()}


def authors(state: State, path: Path) -> Path:
    """Write `{'model': …}` with the other entries of the authors' training script."""
    options = argparse.Namespace(model="alt_gvt_small", lr=np.float64(5e-4), seed=np.int64(0), world_size=8)
    scheduler = {"last_epoch": 299, "best": np.float32(81.7)}
    optimizer = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-5, "betas": (0.9, 0.999)}]}
    torch.save(
        {
            "model": state,
            "optimizer": optimizer,
            "lr_scheduler": scheduler,
            "epoch": 299,
            "scaler": {},
            "args": options,
        },
        path.with_suffix(".pth"),
    )
    return path.with_suffix(".pth")


def bare(state: State, path: Path) -> Path:
    """Write the state dict alone, like the `.bin` files of timm."""
    torch.save(state, path.with_suffix(".bin"))
    return path.with_suffix(".bin")


def safetensors(state: State, path: Path) -> Path:
    """Write a safetensors file, like those of timm on the hub."""
    save_file(state, path.with_suffix(".safetensors"), {"format": "pt"})
    return path.with_suffix(".safetensors")


def timm_training(state: State, path: Path) -> Path:
    """Write a checkpoint of timm's `train.py`, in which the moving average has the right weights."""
    options = argparse.Namespace(model="twins_svt_small", drop=0.0)
    torch.save(
        {
            "epoch": 299,
            "arch": "twins_svt_small",
            "state_dict": hollow(state),
            "optimizer": {"state": {}, "param_groups": []},
            "args": options,
            "state_dict_ema": {f"module.{key}": tensor for key, tensor in state.items()},
            "metric": np.float64(81.7),
        },
        path.with_suffix(".pth.tar"),
    )
    return path.with_suffix(".pth.tar")


def mmpretrain(state: State, path: Path) -> Path:
    """Write `state_dict` under the names of mmpretrain, with `meta`."""
    meta = {"mmcls_version": "0.20.1", "epoch": 300, "config": "model = dict()", "CLASSES": ("tench", "goldfish")}
    renamed = {mmpretrain_name(key): tensor for key, tensor in state.items()}
    torch.save({"meta": meta, "state_dict": renamed, "message": None}, path.with_suffix(".pth"))
    return path.with_suffix(".pth")


WRITERS = {
    "authors": authors,
    "bin": bare,
    "safetensors": safetensors,
    "timm-training": timm_training,
    "mmpretrain": mmpretrain,
}
"""Writers by format. Each writes a state dict with timm's names, chooses the suffix, and returns the path."""
