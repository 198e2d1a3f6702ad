"""The inputs that a call may have: an encoded image, the pixels of an image, or the network's own input."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.errors import BadRequest, TooLarge
from twins.card import MIN_SIDE, Card
from twins.images.decode import Limits
from twins.images.input_image import InputImage


@dataclass(frozen=True, eq=False)
class ImageTensor:
    """The pixels of an image. They are preprocessed, but not decoded."""

    pixels: NDArray[np.uint8]  # (height, width, 3), RGB

    @property
    def pixel_count(self) -> int:
        """Return the number of pixels."""
        return self.pixels.size // 3

    def image(self, limits: Limits) -> InputImage:
        """Return the image. Raise BadRequest for another type or shape, TooLarge for one that exceeds the limits."""
        check_tensor("the image", self.pixels, np.uint8, ("height", "width", 3))
        height, width, _ = self.pixels.shape
        if max(height, width) > limits.max_side or height * width > limits.max_pixels:
            raise TooLarge(
                f"the image is {width}x{height} pixels; the limits are {limits.max_side} per side "
                f"and {limits.max_pixels} in total"
            )
        return InputImage.whole(Image.fromarray(np.ascontiguousarray(self.pixels)))


@dataclass(frozen=True, eq=False)
class InputTensor:
    """The network's own input. It is neither decoded nor preprocessed; a mask has its size."""

    values: NDArray[np.float32]  # (3, height, width), RGB, normalised

    def check(self, card: Card, limits: Limits) -> None:
        """Raise BadRequest for what preprocessing for this model could not have returned."""
        check_tensor("the input", self.values, np.float32, (3, "height", "width"))
        _, height, width = self.values.shape
        geometry = card.geometry
        longest = geometry.long_side or limits.max_side
        if geometry.crop:
            fits, expected = (height, width) == (geometry.crop, geometry.crop), f"{geometry.crop}x{geometry.crop}"
        else:
            short, long = sorted((height, width))
            fits = MIN_SIDE <= short <= geometry.short_side and long <= longest
            expected = f"a short side of {MIN_SIDE} to {geometry.short_side} and a long side of at most {longest}"
        if not fits:
            raise BadRequest(f"the input is {width}x{height}; {card.name} takes {expected}")
        if not np.isfinite(self.values).all():
            raise BadRequest("the input has values that are not finite")


Input = bytes | ImageTensor | InputTensor
"""Bytes are an encoded image: a file of one of the supported types."""


def check_tensor(what: str, tensor: NDArray[np.generic], dtype: type[np.generic], shape: Sequence[int | str]) -> None:
    """Raise BadRequest unless a tensor has the type and the shape; a word in the shape stands for any length but 0."""
    lengths = zip(tensor.shape, shape, strict=False)
    fits = tensor.ndim == len(shape) and all(n == want if isinstance(want, int) else n > 0 for n, want in lengths)
    if tensor.dtype != dtype or not fits:
        raise BadRequest(
            f"{what} is {tensor.dtype} of shape {tensor.shape}; "
            f"it must be {np.dtype(dtype)} of shape ({', '.join(map(str, shape))})"
        )
