"""The input tensor of a request as the images of a call."""

from collections.abc import Sequence

import numpy as np

from service.core.inputs import ImageTensor, Input, InputTensor
from service.errors import BadRequest
from service.oip.tensors import BYTES, Tensor

IMAGE, PIXELS, INPUT = "image", "pixels", "input"
"""The names of the inputs in a model's metadata. A request has one of them; its data type says which, not its name."""


def images(tensors: Sequence[Tensor]) -> tuple[Input, ...]:
    """Return the images in the one input of a request. Raise BadRequest for another number, type or shape."""
    if len(tensors) != 1:
        raise BadRequest(f"the request has {len(tensors)} inputs; it must have one: {IMAGE}, {PIXELS} or {INPUT}")
    (tensor,) = tensors
    match tensor.datatype, tensor.shape:
        case (str() as kind, (_,) | (_, 1)) if kind == BYTES:
            return tuple(tensor.values.flat)
        case ("UINT8", (_, _, _, 3)):
            return tuple(ImageTensor(pixels) for pixels in tensor.values)
        case ("FP32", (_, 3, _, _)):
            return tuple(InputTensor(values.astype(np.float32, copy=False)) for values in tensor.values)
    raise BadRequest(
        f"the input {tensor.name[:40]!r} is {tensor.datatype} of shape {list(tensor.shape)}; it must be BYTES [N] "
        f"(image files), UINT8 [N, height, width, 3] (pixels), or FP32 [N, 3, height, width] (the network's own input)"
    )
