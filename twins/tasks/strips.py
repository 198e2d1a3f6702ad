"""Strips of rows: what takes many bytes a pixel is done for a part of a large image at a time."""

from collections.abc import Iterator

STRIP_PIXELS = 2**18


def strips(rows: int, columns: int) -> Iterator[slice]:
    """Return slices of the rows of an image, each of about `STRIP_PIXELS` pixels and at least one row."""
    count = max(1, STRIP_PIXELS // max(1, columns))
    return (slice(start, start + count) for start in range(0, rows, count))
