"""Images of one colour."""

import io

from PIL import Image


def plain(red: int, green: int, blue: int, *, side: int = 64, compress_level: int = 6) -> bytes:
    """Return a PNG file of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (side, side), (red, green, blue)).save(file, "PNG", compress_level=compress_level)
    return file.getvalue()
