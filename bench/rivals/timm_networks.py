"""Import timm's Twins, also where PyTorch is a build for the CPU.

The package index has torchvision for CUDA only. With such a PyTorch its operators cannot be loaded, and its import
fails because it describes two of them. timm needs its Python modules alone.
"""

import torch

if torch.version.cuda is None:
    for name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from timm import create_model
from timm.layers import set_fused_attn
from timm.models.twins import Twins

__all__ = ["Twins", "create_model", "set_fused_attn"]
