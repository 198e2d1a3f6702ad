"""Decode untrusted bytes to an image.

The values in the header are compared with the limits before any pixel is decoded. Nothing is written to disk.

ImageError
├── NotAnImage    not an image, or not of a supported type
├── TooLarge      exceeds a limit
└── Undecodable   damaged, or with pixels that cannot be shown
"""

import io
import math
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from twins.errors import TwinsError
from twins.images import structure as blocks
from twins.images.input_image import Area, InputImage, Size, SmallestSize, reduce
from twins.images.structure import Block

DecodedImage = Image.Image

Reserve = Callable[[int], None]  # called with the number of pixels that the decoder is about to hold

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
"""The signatures of the supported types: an offset and the bytes at that offset."""

OTHER_TYPES: tuple[tuple[bytes, str], ...] = (
    (b"<svg", "an SVG drawing"),
    (b"%PDF", "a PDF document"),
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<?xml", "an XML document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x00\x00\x00\x0cjxl", "a JPEG XL image"),
    (b"ftypheic", "a HEIC image"),
    (b"ftypmif1", "a HEIC image"),  # the general brand of the family, without AVIF among the compatible brands
)
"""Other types that clients send by mistake, by bytes near their start. The error message names the type."""

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
"""The errors that Pillow raises for damaged files."""

SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
TILE_SIDES = (322, 323)  # TIFF tags: tile width and height
BMP_RUN_LENGTHS = (1, 2)  # compression by run lengths, with 8 and 4 bits
ORIENTATION = 0x0112  # the EXIF tag
STRIP_PIXELS = 2**17  # 384 KiB, which stay in the cache of a core


class ImageError(TwinsError):
    """The image cannot be used. `reason` is a stable word for metrics."""

    reason = "image"


class NotAnImage(ImageError):
    """The data is not an image of a supported type."""

    reason = "unsupported_type"


class TooLarge(ImageError):
    """The image exceeds a limit."""

    reason = "too_large"


class Undecodable(ImageError):
    """The image is truncated or damaged, or its pixels cannot be converted to RGB."""

    reason = "undecodable"


@dataclass(frozen=True)
class Limits:
    """Upper limits of an image, checked before its pixels are decoded."""

    max_bytes: int = 16 * 2**20
    max_pixels: int = 50_000_000
    max_side: int = 16_384  # pixels
    max_frames: int = 1_000  # of an animation; only the first frame is used
    max_blocks: int = 100_000  # chunks, segments and tags, which Pillow reads one by one
    max_scans: int = 32  # of a JPEG; each scan is a pass over all pixels; ten are usual
    max_run_pixels: int = 1_000_000  # of a BMP compressed by run lengths, which Pillow decodes in Python


@dataclass(frozen=True, eq=False)
class OpenedImage:
    """An image file whose structure and header are within the limits. None of its pixels has been decoded yet."""

    image: DecodedImage
    size: Size  # as the header has it; `image` is smaller if the decoder reduces it
    area: Area | None  # what the image covers of `image` if the decoder reduces it
    buffered: bool  # whether the decoder holds all pixels, however far it reduces them

    @property
    def pixel_count(self) -> int:
        """Return the number of pixels by the header."""
        return math.prod(self.size)

    @property
    def held_pixels(self) -> int:
        """Return the number of pixels that the decoder holds."""
        return self.pixel_count if self.buffered else math.prod(self.image.size)

    def decode(self, *, exif_orientation: bool) -> InputImage:
        """Return the first frame as an RGB image with 8 bits per channel. Raise Undecodable."""
        with translate_decoder_errors():
            self.image.load()  # reading the EXIF tag first would load a PNG as well and hide that it is damaged
            orientation = read_orientation(self.image) if exif_orientation else None
            rgb = to_rgb(self.image)
        decoded = InputImage.whole(rgb) if self.area is None else InputImage(rgb, self.size, self.area)
        return decoded if orientation is None else decoded.transpose(orientation)


def decode(
    data: bytes,
    limits: Limits,
    *,
    exif_orientation: bool,
    smallest_size: SmallestSize | None = None,
    reserve: Reserve = lambda _: None,
) -> InputImage:
    """Return the first frame as an RGB image with 8 bits per channel. Raise NotAnImage, TooLarge or Undecodable.

    Transparency is ignored, as in the evaluation of the published models. `smallest_size` is that of `open_image`.
    `reserve` is called once, after the header has been checked and before any pixel is decoded; whatever it raises is
    raised.
    """
    opened = open_image(data, limits, smallest_size=smallest_size)
    reserve(opened.held_pixels)
    return opened.decode(exif_orientation=exif_orientation)


def open_image(data: bytes, limits: Limits, *, smallest_size: SmallestSize | None = None) -> OpenedImage:
    """Return the image in a file, without decoding pixels. Raise NotAnImage, TooLarge or Undecodable.

    With `smallest_size`, the decoder may reduce the image as far as that allows; without, it never does.
    """
    if len(data) > limits.max_bytes:
        raise TooLarge(f"the image has {len(data)} bytes; the limit is {limits.max_bytes}")
    recognise(data)
    buffered = check_blocks(data, limits)[Block.BUFFERED_SCAN] > 0
    with translate_decoder_errors():
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        check_size(image, limits)
        check_tiles(image, limits)
        check_frames(image, limits)
        image.seek(0)
        size = image.size
        area = reduce(image, smallest_size) if smallest_size is not None else None
    return OpenedImage(image, size, area, buffered)


@contextmanager
def translate_decoder_errors() -> Iterator[None]:
    """Translate the errors of a decoder into errors that a client may see."""
    try:
        yield
    except UnidentifiedImageError as error:
        raise Undecodable("the image's header is damaged") from error
    except Image.DecompressionBombError as error:
        raise TooLarge("the image is a decompression bomb") from error
    except DECODER_ERRORS as error:
        raise Undecodable(f"the image cannot be decoded: {str(error)[:120]}") from error


def recognise(data: bytes) -> None:
    """Raise NotAnImage unless the first bytes are those of a supported type. Names and media types do not count."""
    start = data[:512].lower()
    heic = data.startswith(b"ftypmif1", 4) and b"avif" not in start
    if any(data.startswith(mark, offset) for offset, mark in SIGNATURES) and not heic:
        return
    if not data:
        raise NotAnImage("the image is empty")
    found = next((name for mark, name in OTHER_TYPES if mark.lower() in start), "not an image of a known type")
    raise NotAnImage(f"this is {found}; supported types are {', '.join(FORMATS)}")


def check_blocks(data: bytes, limits: Limits) -> Counter[Block]:
    """Compare the numbers of blocks, scans and frames with the limits before Pillow reads the file. Return them."""
    counts = Counter(islice(blocks.walk(data), limits.max_blocks + 1))
    if counts.total() > limits.max_blocks:
        raise TooLarge(f"the image has more than {limits.max_blocks} blocks")
    if (scans := counts[Block.SCAN] + counts[Block.BUFFERED_SCAN]) > limits.max_scans:
        raise TooLarge(f"the image has {scans} scans; the limit is {limits.max_scans}")
    if counts[Block.FRAME] > limits.max_frames:
        raise TooLarge(f"the image has {counts[Block.FRAME]} frames; the limit is {limits.max_frames}")
    return counts


def check_size(image: DecodedImage, limits: Limits) -> None:
    """Compare the size in the header with the limits."""
    width, height = image.size
    if max(width, height) > limits.max_side:
        raise TooLarge(f"the image is {width}x{height} pixels; the limit for a side is {limits.max_side}")
    run_lengths = image.format == "BMP" and image.info.get("compression") in BMP_RUN_LENGTHS
    max_pixels = min(limits.max_pixels, limits.max_run_pixels) if run_lengths else limits.max_pixels
    if width * height > max_pixels:
        raise TooLarge(f"the image has {width * height} pixels; the limit is {max_pixels}")


def check_tiles(image: DecodedImage, limits: Limits) -> None:
    """Compare the tile size of a TIFF with the limit. Tiles may be larger than the image and are decoded whole."""
    tags = getattr(image, "tag_v2", {})
    sides = [tags.get(tag) for tag in TILE_SIDES] if image.format == "TIFF" else []
    width, height = (side if isinstance(side, int) else 1 for side in sides or (1, 1))
    if width * height > limits.max_pixels:
        raise TooLarge(f"the tiles of the image have {width * height} pixels; the limit is {limits.max_pixels}")


def check_frames(image: DecodedImage, limits: Limits) -> None:
    """Compare the number of frames in the header with the limit. `check_blocks` counts those of GIF and TIFF."""
    frames = 1 if image.format in ("GIF", "TIFF") else getattr(image, "n_frames", 1)
    if frames > limits.max_frames:
        raise TooLarge(f"the image has {frames} frames; the limit is {limits.max_frames}")


def read_orientation(image: DecodedImage) -> Image.Transpose | None:
    """Return the transposition that the EXIF tag asks for, or None if there is no valid tag."""
    if image.format == "TIFF":  # Pillow always transposes a TIFF itself
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
    """Convert any pixel type to RGB. 16-bit grey keeps its upper eight bits; Pillow alone would clip it at 255."""
    if image.mode in SIXTEEN_BIT:
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise Undecodable("images with 32 bits per channel are not supported, since their range of values is unknown")
    return image if image.mode == "RGB" else image.convert("RGB")


def to_array(image: DecodedImage) -> NDArray[np.uint8]:
    """Return the pixels as an RGB array of shape (height, width, 3).

    A large image is copied in strips of rows. Pillow alone copies it twice into memory that the system has to clear,
    which takes three times as long.
    """
    rows = max(1, STRIP_PIXELS // image.width)
    if rows >= image.height:
        return np.asarray(image, np.uint8)
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, rows):
        pixels[top : top + rows] = np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))
    return pixels
