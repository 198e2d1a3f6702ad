"""Twins-PCPVT and Twins-SVT: published checkpoints as PyTorch modules.

>>> network = twins.load("twins_svt_nano")
>>> logits = network(twins.preprocess("cat.jpg", "twins_svt_nano"))  # 1×classes

The package runs models without a server: nothing in it imports `service`, FastAPI or gRPC. This module defines the
public functions only, and imports torch in them, so that `import twins` is fast.
"""

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from twins.zoo.models import ModelReference, list_models, parse_reference

if TYPE_CHECKING:
    import torch
    from PIL import Image

__all__ = ["list_models", "load", "preprocess"]
__version__ = "0.1.0"


def load(
    name: str,
    checkpoint: str | PathLike[str] | None = None,
    *,
    features: bool = False,
    device: "str | torch.device" = "cpu",
    dtype: "torch.dtype | None" = None,
) -> "torch.nn.Module":
    """Return a model as a module in eval mode, whose input is what `preprocess` returns.

    The module takes N×3×H×W float images that are normalised and have sides of at least 32 pixels. A classifier
    returns N×classes logits, a segmentation model N×classes×h×w logits at a quarter of the input's size, and a detector
    `twins.network.detections.Predictions`, whose method `detections` chooses boxes. With `features` the module returns
    the four maps of the backbone of any model instead, N×channels×h×w at strides 4, 8, 16 and 32.

    `name` is one of `list_models()`, whose weights are fetched if necessary. With `checkpoint`, or as NAME=FILE, it is
    any name for a file of your own in a supported format. `dtype` is float32 by default. Raises
    `twins.errors.TwinsError` with a message that says what to do.
    """
    from twins.zoo import loading  # imported late so that `import twins` does not import torch

    network = loading.features if features else loading.network
    return network(reference(name, checkpoint)).to(device=device, dtype=dtype)


def preprocess(
    image: "str | PathLike[str] | bytes | Image.Image", name: str, checkpoint: str | PathLike[str] | None = None
) -> "torch.Tensor":
    """Return an image as the input of a model: 1×3×H×W, float32, normalised.

    `image` is a path, the bytes of an image file, or a Pillow image. `name` and `checkpoint` are those of `load`.
    The image is resized, cropped and normalised as the service does it for this model. Raises
    `twins.errors.TwinsError` if the image cannot be read.
    """
    import torch

    from twins.runtime import inputs  # imported late like torch, because it imports Pillow and NumPy

    return torch.from_numpy(inputs.prepare(image, reference(name, checkpoint)))


def reference(name: str, checkpoint: str | PathLike[str] | None) -> ModelReference:
    """Return the model that a name, and perhaps a file, stand for. Raises UnknownModel."""
    return ModelReference(name, Path(checkpoint)) if checkpoint is not None else parse_reference(name)
