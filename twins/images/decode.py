"""Bytes from strangers to an image: every rule about untrusted images.

What the header says is compared with the limits before any pixel is decoded; nothing is written to disk.

ImageError
├── NotAnImage    no image, or of a type not taken
├── TooLarge      over a limit
└── Undecodable   an image, but broken
"""

import io
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from twins.errors import TwinsError
from twins.images import structure as blocks
from twins.images.structure import Block

DecodedImage = Image.Image

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")

SIGNATURES: tuple[tuple[int, bytes], ...] = (
    (0, b"\xff\xd8\xff"),
    (0, b"\x89PNG\r\n\x1a\n"),
    (8, b"WEBP"),
    (0, b"BM"),
    (0, b"GIF8"),
    (0, b"II*\0"),
    (0, b"MM\0*"),
    (0, b"II+\0"),
    (0, b"MM\0+"),
    (4, b"ftypavif"),
    (4, b"ftypavis"),
    (4, b"ftypmif1"),
)
"""Where each type that is taken shows itself: an offset and the bytes there."""

TELLTALES: tuple[tuple[bytes, str], ...] = (
    (b"<svg", "an SVG drawing"),
    (b"%PDF", "a PDF document"),
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<?xml", "an XML document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x00\x00\x00\x0cjxl", "a JPEG XL image"),
    (b"ftypheic", "a HEIC image"),
    (b"ftypmif1", "a HEIC image"),  # the family's general brand, where AVIF is not among the compatible ones
)
"""What people send by mistake, looked for in the first bytes, to name it in the refusal."""

DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    RuntimeError,
)
"""What Pillow's decoders raise on damaged files."""

SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
TILE_SIDES = (322, 323)  # the TIFF tags
BMP_RUNS = (1, 2)  # the compressions by run lengths, of 8 and 4 bits
ORIENTATION = 0x0112  # the EXIF tag


class ImageError(TwinsError):
    """An image that cannot be used. `reason` is a stable word for metrics."""

    reason = "image"


class NotAnImage(ImageError):
    """No image of a type that is taken."""

    reason = "unsupported_type"


class TooLarge(ImageError):
    """Over a limit."""

    reason = "too_large"


class Undecodable(ImageError):
    """Broken: truncated, damaged, or of a pixel type without a meaning here."""

    reason = "undecodable"


@dataclass(frozen=True)
class Limits:
    """What an image may cost, known from its header."""

    max_bytes: int = 16 * 2**20
    max_pixels: int = 50_000_000
    max_side: int = 16_384  # pixels
    max_frames: int = 1_000  # of an animation; only the first is looked at
    max_blocks: int = 100_000  # chunks, segments, tags: what Pillow reads one by one
    max_scans: int = 32  # of a JPEG, each a pass over all pixels; ten are usual
    max_run_pixels: int = 1_000_000  # of a BMP in run lengths, which Pillow unpacks in Python


def decode(data: bytes, limits: Limits, *, exif_orientation: bool) -> DecodedImage:
    """The first frame as an RGB image, 8 bits a channel. Transparency is ignored, as in the models' own evaluation.

    Raises NotAnImage, TooLarge, Undecodable.
    """
    if len(data) > limits.max_bytes:
        raise TooLarge(f"the image has {len(data)} bytes; at most {limits.max_bytes} are taken")
    recognise(data)
    check_blocks(data, limits)
    with translate_decoder_errors():
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        check_size(image, limits)
        check_tiles(image, limits)
        check_frames(image, limits)
        image.seek(0)
        image.load()  # before the tag is read, which loads a PNG too and would hide that it is broken
        orientation = read_orientation(image) if exif_orientation else None
        rgb = to_rgb(image)
    return rgb if orientation is None else rgb.transpose(orientation)


@contextmanager
def translate_decoder_errors() -> Iterator[None]:
    """Turns what a decoder raises into the error a client may see."""
    try:
        yield
    except UnidentifiedImageError as error:
        raise Undecodable("the image's header is damaged") from error
    except Image.DecompressionBombError as error:
        raise TooLarge("the image is a decompression bomb") from error
    except DECODER_ERRORS as error:
        raise Undecodable(f"the image cannot be decoded: {str(error)[:120]}") from error


def recognise(data: bytes) -> None:
    """Refuses what is not of a type that is taken, by its first bytes: names and labels are not believed."""
    start = data[:512].lower()
    foreign = data.startswith(b"ftypmif1", 4) and b"avif" not in start
    if any(data.startswith(mark, offset) for offset, mark in SIGNATURES) and not foreign:
        return
    if not data:
        raise NotAnImage("the image is empty")
    found = next((name for mark, name in TELLTALES if mark.lower() in start), "no image known here")
    raise NotAnImage(f"this is {found}; taken are {', '.join(FORMATS)}")


def check_blocks(data: bytes, limits: Limits) -> None:
    """Compares what the file consists of with the limits, before Pillow looks at any of it."""
    counts = Counter(islice(blocks.walk(data), limits.max_blocks + 1))
    if counts.total() > limits.max_blocks:
        raise TooLarge(f"the image consists of more than {limits.max_blocks} blocks")
    if counts[Block.SCAN] > limits.max_scans:
        raise TooLarge(f"the image has {counts[Block.SCAN]} scans; at most {limits.max_scans} are taken")
    if counts[Block.FRAME] > limits.max_frames:
        raise TooLarge(f"the image has {counts[Block.FRAME]} frames; at most {limits.max_frames} are taken")


def check_size(image: DecodedImage, limits: Limits) -> None:
    """Compares the size in the header with the limits."""
    width, height = image.size
    if max(width, height) > limits.max_side:
        raise TooLarge(f"the image is {width}x{height} pixels; a side may have at most {limits.max_side}")
    runs = image.format == "BMP" and image.info.get("compression") in BMP_RUNS
    most = min(limits.max_pixels, limits.max_run_pixels) if runs else limits.max_pixels
    if width * height > most:
        raise TooLarge(f"the image has {width * height} pixels; at most {most} are taken")


def check_tiles(image: DecodedImage, limits: Limits) -> None:
    """Compares a TIFF's tiles with the limit: they may be larger than the image, and are unpacked as a whole."""
    tags = getattr(image, "tag_v2", {})
    sides = [tags.get(tag) for tag in TILE_SIDES] if image.format == "TIFF" else []
    width, height = (side if isinstance(side, int) else 1 for side in sides or (1, 1))
    if width * height > limits.max_pixels:
        raise TooLarge(f"the image's tiles have {width * height} pixels; at most {limits.max_pixels} are taken")


def check_frames(image: DecodedImage, limits: Limits) -> None:
    """Compares the number of frames in the header with the limit; GIF and TIFF have none there: see `check_blocks`."""
    frames = 1 if image.format in ("GIF", "TIFF") else getattr(image, "n_frames", 1)
    if frames > limits.max_frames:
        raise TooLarge(f"the image has {frames} frames; at most {limits.max_frames} are taken")


def read_orientation(image: DecodedImage) -> Image.Transpose | None:
    """How the EXIF tag wants the image turned; a damaged tag wants nothing."""
    if image.format == "TIFF":  # Pillow turns these itself, whatever the setting
        return None
    try:
        value = image.getexif().get(ORIENTATION)
    except DECODER_ERRORS:
        return None
    return ORIENTATIONS.get(value) if isinstance(value, int) else None


ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def to_rgb(image: DecodedImage) -> DecodedImage:
    """Any pixel type as RGB. 16-bit grey keeps its upper eight bits, where Pillow alone would cut it off at 255."""
    if image.mode in SIXTEEN_BIT:
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise Undecodable("pixels of 32 bits have no range that could be shown")
    return image.convert("RGB")


def to_array(image: DecodedImage) -> NDArray[np.uint8]:
    """(height, width, 3), RGB."""
    return np.asarray(image, np.uint8)
