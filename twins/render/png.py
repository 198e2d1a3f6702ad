"""PNG files: masks, whose pixels are class ids, and images.

This module writes them instead of an image library: one filter for all rows and a faster deflate take a seventh of
the time, and the files are not larger.
"""

import base64
import struct
import zlib

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from twins.errors import BadOption
from twins.tasks.segmentation import Mask, Segmentation

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, INDEXED = 0, 2, 3  # colour types
UP = 2  # the filter that stores each byte's difference to the one above
LEVEL = 1  # of deflate


def index(found: Segmentation) -> bytes:
    """Return a grey PNG of 8 bits, or 16 from 256 classes on. The value is the class id, or `ignore_index`."""
    return write(found.mask, GREY)


def palette(found: Segmentation, colours: NDArray[np.uint8]) -> bytes:
    """Return the index mask in 8 bits with the classes' colours, transparent where there is no class.

    `colours` come from `twins.render.palette.colours`. Raises BadOption for more than 255 classes.
    """
    if found.mask.dtype != np.uint8:
        raise BadOption(f"a palette has room for 255 classes, not for {len(found.labels)}; use the format png")
    table = np.zeros((256, 3), np.uint8)
    table[: len(colours)] = colours
    opaque = bytes(255 * (value != found.ignore_index) for value in range(256))
    return write(found.mask, INDEXED, (b"PLTE", table.tobytes()), (b"tRNS", opaque))


def silhouette(inside: NDArray[np.bool_]) -> bytes:
    """Return a grey PNG of 8 bits: 255 inside, 0 outside."""
    return write(inside.astype(np.uint8) * np.uint8(255), GREY)


def colour(pixels: NDArray[np.uint8]) -> bytes:
    """Return a PNG of an RGB image of shape (height, width, 3)."""
    return write(pixels, RGB)


def as_text(data: bytes) -> str:
    """Return the bytes of a file in base64, for JSON."""
    return base64.b64encode(data).decode("ascii")


def write(pixels: Mask, colour_type: int, *extra: tuple[bytes, bytes]) -> bytes:
    """Return a PNG; `extra` are chunks to put before the pixels."""
    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", isal_zlib.compress(filtered(pixels), LEVEL)), (b"IEND", b"")]
    return SIGNATURE + b"".join(chunk(name, content) for name, content in chunks)


def filtered(pixels: Mask) -> NDArray[np.uint8]:
    """Return the rows as differences to the row above, each after the number of its filter."""
    height = pixels.shape[0]
    big_endian = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder(">"))
    values = big_endian.view(np.uint8).reshape(height, -1)
    rows = np.empty((height, 1 + values.shape[1]), np.uint8)
    rows[:, 0], rows[0, 1:] = UP, values[0]
    np.subtract(values[1:], values[:-1], out=rows[1:, 1:])
    return rows


def chunk(name: bytes, content: bytes) -> bytes:
    """Return one chunk: length, name, content, checksum."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
