"""An image with its detections: coloured masks, boxes, and the names of the classes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from twins.images.decode import DecodedImage, to_array
from twins.render.overlay import Encoding, Pixels, save
from twins.tasks.detection import Detection, DetectionResult
from twins.tasks.strips import strips

SHOWN = 0.3  # the least score of a detection that is drawn; an option of the request can only raise it
SIDE_PER_PIXEL = 300  # pixels of the short side for each pixel of a line's width
LINES_PER_NAME = 6  # widths of a line in the height of a name
SMALLEST_NAME = 11  # pixels
DARK = 140  # the brightness above which a name on a colour is black


def encode(
    found: DetectionResult, image: DecodedImage, colours: NDArray[np.uint8], *, opacity: float, encoding: Encoding
) -> bytes:
    """Return the image with the detections whose score is at least `SHOWN`, the best one on top.

    `colours` come from `twins.render.palette.colours`.
    """
    height, width = found.size
    shown = image if image.size == (width, height) else image.resize((width, height))
    chosen = [each for each in reversed(found.detections) if each.score >= SHOWN]
    canvas = Image.fromarray(tinted(shown, chosen, colours, opacity))
    line = max(2, round(min(found.size) / SIDE_PER_PIXEL))
    draw = ImageDraw.Draw(canvas)
    for each in chosen:
        frame(draw, each, tuple(colours[each.class_id].tolist()), line)
    return save(np.asarray(canvas), encoding)


def tinted(image: DecodedImage, chosen: Sequence[Detection], colours: NDArray[np.uint8], opacity: float) -> Pixels:
    """Return the pixels of an image with coloured objects, the last one on top."""
    pixels = np.array(to_array(image))
    for each in chosen:
        tint(pixels, each, colours[each.class_id], opacity)
    return pixels


def tint(pixels: Pixels, found: Detection, colour: NDArray[np.uint8], opacity: float) -> None:
    """Mark the pixels of an object with its colour, in place."""
    mask = found.mask((pixels.shape[0], pixels.shape[1]))
    if mask is None:
        return
    height, width = mask.pixels.shape
    part = pixels[mask.top : mask.top + height, mask.left : mask.left + width]
    for rows in strips(height, width):
        chosen, strip = mask.pixels[rows], part[rows]
        inside = strip[chosen]
        strip[chosen] = (inside + (colour.astype(np.float32) - inside) * opacity + 0.5).astype(np.uint8)


def frame(draw: ImageDraw.ImageDraw, found: Detection, colour: tuple[int, ...], line: int) -> None:
    """Draw the box of an object, and its name on a plate at the upper left corner, inside if there is no room above."""
    left, top, right, bottom = found.box
    draw.rectangle((left, top, right, bottom), outline=colour, width=line)
    font = ImageFont.load_default(max(SMALLEST_NAME, LINES_PER_NAME * line))
    text = f"{found.label} {found.score:.2f}"
    _, _, width, height = draw.textbbox((0, 0), text, font=font)
    above = top - height - line
    y = above if above >= 0 else top
    draw.rectangle((left, y, left + width + 2 * line, y + height + line), fill=colour)
    red, green, blue = colour
    brightness = 0.299 * red + 0.587 * green + 0.114 * blue
    draw.text((left + line, y), text, font=font, fill="black" if brightness > DARK else "white")
