"""Resizing for dense tasks, as OpenMMLab's test pipelines compute it."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from twins.card import MIN_SIDE, Geometry
from twins.images.decode import to_array
from twins.images.input_image import InputImage, Size


def resized(image: InputImage, size: Size) -> NDArray[np.uint8]:
    """Return the pixels at another size."""
    pixels: NDArray[Any] = to_array(image.pixels)
    if image.reduced:  # the edges of the image may lie within pixels; linear interpolation would blur few pixels
        left, top, right, bottom = image.area
        across, down = (right - left) / size[0], (bottom - top) / size[1]
        matrix = np.array([[across, 0, left + across / 2 - 0.5], [0, down, top + down / 2 - 0.5]])
        flags = cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP
        pixels = cv2.warpAffine(pixels, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    else:
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
    return pixels.astype(np.uint8, copy=False)


def resized_size(size: Size, geometry: Geometry) -> Size:
    """Return the largest (width, height) within both bounds. No side is below the network's smallest input."""
    scale = geometry.short_side / min(size)
    if geometry.long_side is not None:
        scale = min(geometry.long_side / max(size), scale)
    width, height = (max(MIN_SIDE, int(side * scale + 0.5)) for side in size)
    return width, height
