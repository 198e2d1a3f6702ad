"""An image under its mask: coloured areas with soft borders and a thin light outline."""

import io
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from twins.errors import BadOption
from twins.images.decode import DecodedImage, to_array
from twins.render import png
from twins.tasks.segmentation import Mask, Segmentation
from twins.tasks.strips import strips

Encoding = Literal["png", "jpeg"]
Pixels = NDArray[np.uint8]  # (height, width, 3), RGB

OUTLINE = (255, 255, 255)
OUTLINE_OPACITY = 0.75
SIDE_PER_PIXEL = 700  # pixels of the short side for each pixel of the outline's thickness
QUALITY = 90  # of a JPEG


@dataclass(frozen=True)
class Style:
    """How a mask is painted. Raise BadOption for an opacity out of range."""

    colours: NDArray[np.uint8]  # (classes, 3), RGB; see `twins.render.palette.colours`
    background: int | None = None  # the class whose pixels stay as they are
    opacity: float = 0.55  # 0 for the image alone, 1 for the mask alone

    def __post_init__(self) -> None:
        if not 0 <= self.opacity <= 1:
            raise BadOption(f"opacity is {self.opacity}; it must be from 0 to 1")


def encode(found: Segmentation, image: DecodedImage, style: Style, encoding: Encoding = "png") -> bytes:
    """Return the image, at the mask's size, under the coloured mask; pixels without a class are not changed.

    Raise BadOption for another encoding.
    """
    if encoding not in ("png", "jpeg"):
        raise BadOption(f"an overlay is png or jpeg, not {encoding}")
    return save(paint(style, found, image), encoding)


def paint(style: Style, found: Segmentation, image: DecodedImage) -> Pixels:
    """Return the pixels of the overlay. It is painted in strips, since painting takes 30 bytes a pixel."""
    height, width = found.size
    shown = image if image.size == (width, height) else image.resize((width, height))
    thickness = max(1, round(min(found.size) / SIDE_PER_PIXEL))
    painted = np.empty((height, width, 3), np.uint8)
    for rows in strips(height, width):
        top = max(0, rows.start - thickness - 2)  # the blurred outline of a row reaches so far into its neighbours
        bottom = min(height, rows.stop + thickness + 2)
        pixels = to_array(shown.crop((0, top, width, bottom)))
        strip = paint_strip(style, found.mask[top:bottom], pixels, thickness)
        painted[rows] = strip[rows.start - top : rows.stop - top]
    return painted


def paint_strip(style: Style, mask: Mask, pixels: Pixels, thickness: int) -> Pixels:
    """Return the overlay of some rows."""
    clear = mask >= len(style.colours)
    if style.background is not None:
        clear |= mask == style.background
    unpainted = clear.view(np.uint8)
    coloured = cv2.copyTo(pixels, unpainted, coloured_by(style.colours, mask))
    cover = outline(mask, thickness)
    soft = cv2.GaussianBlur(coloured, (3, 3), 0) if cover.any() else coloured
    tinted: NDArray[Any] = cv2.addWeighted(pixels, 1 - style.opacity, soft, style.opacity, 0, dst=soft)
    cv2.copyTo(pixels, unpainted, tinted)
    draw(tinted, cover, OUTLINE_OPACITY * min(1.0, 2 * style.opacity))
    return tinted


def coloured_by(colours: NDArray[np.uint8], mask: Mask) -> Pixels:
    """Return the colour of each pixel's class. Four bytes a pixel are looked up as one number, which is faster."""
    table = np.zeros((len(colours) + 1, 4), np.uint8)
    table[:-1, :3] = colours
    pixels = table.view(np.uint32).ravel().take(mask, mode="clip").view(np.uint8).reshape(*mask.shape, 4)
    return cv2.cvtColor(pixels, cv2.COLOR_RGBA2RGB).astype(np.uint8, copy=False)


def outline(mask: Mask, thickness: int) -> NDArray[np.uint8]:
    """Return how much of each pixel the borders between classes cover, 0 to 255, as (height, width)."""
    differs = np.zeros(mask.shape, bool)
    np.not_equal(mask[:, 1:], mask[:, :-1], out=differs[:, 1:])
    differs[1:] |= mask[1:] != mask[:-1]
    border: NDArray[Any] = differs.view(np.uint8) * np.uint8(255)
    if thickness > 1:
        border = cv2.dilate(border, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (thickness, thickness)))
    return cv2.GaussianBlur(border, (3, 3), 0).astype(np.uint8, copy=False)


def draw(pixels: Pixels, cover: NDArray[np.uint8], opacity: float) -> None:
    """Draw the outline over the pixels, in place. Few pixels are covered, so only those are computed."""
    covered = np.flatnonzero(cover)
    flat = pixels.reshape(-1, 3)
    below = flat[covered].astype(np.float32)
    share = cover.ravel()[covered, None] * np.float32(opacity / 255)
    flat[covered] = (below + (np.array(OUTLINE, np.float32) - below) * share + 0.5).astype(np.uint8)


def save(pixels: Pixels, encoding: Encoding) -> bytes:
    """Return the overlay as a file."""
    if encoding == "png":
        return png.colour(pixels)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "jpeg", quality=QUALITY)
    return buffer.getvalue()
