"""An image as preprocessing gets it: its pixels, which the decoder may have reduced, and the size that it has itself.

The JPEG decoder can return an image at a half, a quarter or an eighth of its size, which takes a fraction of the time
and the memory. Each of its pixels is then the mean of a square of pixels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from PIL import Image

Size = tuple[int, int]  # (width, height)
Area = tuple[float, float, float, float]  # left, top, right, bottom

SmallestSize = Callable[[Size], Size]
"""Returns the size below which an image of this size must not be reduced."""


@dataclass(frozen=True, eq=False)
class InputImage:
    """An RGB image with 8 bits per channel."""

    pixels: Image.Image
    size: Size  # of the image itself, however small `pixels` is
    area: Area  # what the image covers of `pixels`; it ends within a pixel if the size is no multiple of the reduction

    @classmethod
    def whole(cls, pixels: Image.Image) -> "InputImage":
        """Return an image that is not reduced."""
        return cls(pixels, pixels.size, (0, 0, *pixels.size))

    @property
    def reduced(self) -> bool:
        """Return whether `pixels` is smaller than the image."""
        return self.pixels.size != self.size

    def transpose(self, method: Image.Transpose) -> "InputImage":
        """Return the image flipped or rotated, as Pillow does it."""
        swap, from_right, from_bottom = TRANSPOSED[method]
        pixels = self.pixels.transpose(method)
        _, _, *extent = self.area
        (width, height), size = (reversed(extent), self.size[::-1]) if swap else (extent, self.size)
        left, top = pixels.width - width if from_right else 0, pixels.height - height if from_bottom else 0
        return InputImage(pixels, size, (left, top, left + width, top + height))


TRANSPOSED: Mapping[Image.Transpose, tuple[bool, bool, bool]] = {
    Image.Transpose.FLIP_LEFT_RIGHT: (False, True, False),
    Image.Transpose.FLIP_TOP_BOTTOM: (False, False, True),
    Image.Transpose.ROTATE_180: (False, True, True),
    Image.Transpose.TRANSPOSE: (True, False, False),
    Image.Transpose.ROTATE_90: (True, False, True),
    Image.Transpose.ROTATE_270: (True, True, False),
    Image.Transpose.TRANSVERSE: (True, True, True),
}
"""Whether a transposition swaps the sides, and whether the left and the top edge come from the right and the bottom."""


def reduce(image: Image.Image, smallest_size: SmallestSize) -> Area | None:
    """Make the decoder reduce an image that is not decoded yet as far as `smallest_size` allows.

    Return the area that the image covers afterwards, or None if it keeps its size, as all types but JPEG do.
    """
    size = image.size
    drafted = image.draft(None, smallest_size(size))
    return drafted[1] if drafted is not None and image.size != size else None
