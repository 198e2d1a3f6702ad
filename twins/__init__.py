"""Twins-PCPVT and Twins-SVT: published checkpoints as PyTorch modules.

>>> network = twins.load("twins_svt_nano")
>>> logits = network(images)  # images: N 3 H W, float, normalised; logits: N classes
"""

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from twins.zoo.models import list_models

if TYPE_CHECKING:
    import torch

__all__ = ["list_models", "load"]
__version__ = "0.1.0"


def load(
    name: str,
    checkpoint: str | PathLike[str] | None = None,
    *,
    device: "str | torch.device" = "cpu",
    dtype: "torch.dtype | None" = None,
) -> "torch.nn.Module":
    """A model in eval mode: N×3×H×W float, normalised, sides of at least 32 pixels → N×classes logits.

    A segmentation model gives N×classes×h×w logits at a quarter of the input's size.

    `name` is one of `list_models()`, whose weights are fetched if need be; or, with `checkpoint`, any name for a file
    of one's own: the authors', timm's, mmpretrain's or mmsegmentation's, recognised by its keys. `dtype` is float32
    unless given. Raises `twins.errors.TwinsError` with a message that says what to do.
    """
    # imported late: `import twins` alone costs no torch
    from twins.zoo import loading
    from twins.zoo.models import ModelReference, parse_reference

    reference = ModelReference(name, Path(checkpoint)) if checkpoint is not None else parse_reference(name)
    return loading.network(reference).to(device=device, dtype=dtype)
