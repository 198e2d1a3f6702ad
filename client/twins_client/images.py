"""Images in all the forms in which Python programs have them, as the bytes of a file."""

import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

Image = str | os.PathLike[str] | bytes | BinaryIO | NDArray[np.uint8] | Any
"""A path, the bytes of a file, an open file, an array (height, width, 3) of RGB, or an image of Pillow."""
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"}


def encoded(image: Image) -> bytes:
    """Return the bytes of an image file. Raise TypeError for something else."""
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str | os.PathLike):
        return Path(image).read_bytes()
    if isinstance(image, np.ndarray):
        return png(image)
    if hasattr(image, "read"):
        return bytes(image.read())
    if hasattr(image, "save") and hasattr(image, "convert"):  # of Pillow
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()
    raise TypeError(
        f"an image cannot be {type(image).__name__}; give a path, bytes, a file, an array or a Pillow image"
    )


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return pixels as a PNG. Raise TypeError unless they are uint8 of shape (height, width, 3)."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise TypeError(f"an array must be uint8 of shape (height, width, 3), not {pixels.dtype} of {pixels.shape}")
    height, width, _ = pixels.shape
    lines = np.zeros((height, 1 + 3 * width), np.uint8)  # the first byte of a line says that it is not filtered
    lines[:, 1:] = pixels.reshape(height, -1)
    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes((8, 2, 0, 0, 0))
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes(), 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in chunks)


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def in_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the images of a folder and its sub-folders, in order."""
    yield from sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
