"""Count the blocks of an image file without decoding it.

Pillow reads blocks one by one in Python and counts the frames of a GIF by decoding them. The JPEG library passes over
the whole image once per scan. A small file with many tiny blocks would therefore keep a decoder busy for minutes.

A walk never fails. A truncated file has the blocks before its end; the decoder decides whether they suffice.
"""

import re
from collections.abc import Iterator
from enum import Enum
from itertools import repeat
from typing import Literal


class Block(Enum):
    """The kind of a block, which determines its cost."""

    FRAME = "frame"
    SCAN = "scan"  # of a JPEG: one pass over all pixels
    BUFFERED_SCAN = "buffered scan"  # a scan with a part of the values only: the decoder holds those of the whole image
    OTHER = "block"


def walk(data: bytes) -> Iterator[Block]:
    """Yield the blocks of a JPEG, PNG, GIF, TIFF or AVIF file in order. The blocks of other types cost nothing."""
    if data.startswith(b"ftyp", 4):
        return avif(data)
    return next((walker(data) for mark, walker in WALKS.items() if data.startswith(mark)), iter(()))


PNG_INFLATED = (b"iCCP", b"zTXt", b"iTXt")
PNG_INFLATED_COST = 2_000  # each chunk may inflate to a megabyte


def png(data: bytes) -> Iterator[Block]:
    """Yield the chunks of a PNG."""
    at = 8
    while at < len(data):
        yield from repeat(Block.OTHER, PNG_INFLATED_COST if data[at + 4 : at + 8] in PNG_INFLATED else 1)
        at += 12 + int.from_bytes(data[at : at + 4], "big")


JPEG_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # excludes stuffing bytes and restart markers within a scan
JPEG_SCAN, JPEG_END = 0xDA, 0xD9
JPEG_WITHOUT_LENGTH = range(0xD0, 0xD9)
JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # the markers of headers with the number of components
JPEG_SEQUENTIAL = {0xC0, 0xC1, 0xC9}  # of these, the types whose scans have all bits of their components


def jpeg(data: bytes) -> Iterator[Block]:
    """Yield the segments and scans of a JPEG. Each invalid byte before the first scan counts, as Pillow skips it."""
    at, in_scans, components = 2, False, b""
    while found := JPEG_MARKER.search(data, at):
        kind = data[found.end() - 1]
        if not in_scans:
            yield from repeat(Block.OTHER, found.start() - at)
        if kind == JPEG_END:
            return
        in_scans = in_scans or kind == JPEG_SCAN
        if kind in JPEG_FRAMES:
            components = data[found.end() + 7 : found.end() + 8] if kind in JPEG_SEQUENTIAL else b""
        complete = data[found.end() + 2 : found.end() + 3] == components
        yield Block.OTHER if kind != JPEG_SCAN else Block.SCAN if complete else Block.BUFFERED_SCAN
        at = found.end() + (
            0 if kind in JPEG_WITHOUT_LENGTH else int.from_bytes(data[found.end() : found.end() + 2], "big")
        )
    yield from repeat(Block.OTHER, 0 if in_scans else len(data) - at)


GIF_IMAGE, GIF_EXTENSION, GIF_END, GIF_TABLE = 0x2C, 0x21, 0x3B, 0x80


def gif(data: bytes) -> Iterator[Block]:
    """Yield the frames and extensions of a GIF, and the sub-blocks of extensions. Each invalid byte counts."""
    at = 13 + gif_table(data[10:11])
    while at < len(data) and data[at] != GIF_END:
        if data[at] == GIF_IMAGE:
            yield Block.FRAME
            at, _ = gif_sub_blocks(data, at + 11 + gif_table(data[at + 9 : at + 10]))
        elif data[at] == GIF_EXTENSION:
            at, count = gif_sub_blocks(data, at + 2)
            yield from repeat(Block.OTHER, 1 + count)
        else:
            yield Block.OTHER
            at += 1


def gif_table(flags: bytes) -> int:
    """Return the length in bytes of the colour table that a flag byte announces."""
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & GIF_TABLE else 0


def gif_sub_blocks(data: bytes, at: int) -> tuple[int, int]:
    """Return where the chain of sub-blocks at `at` ends, and the number of sub-blocks."""
    count = 0
    while at < len(data) and data[at]:
        at += data[at] + 1
        count += 1
    return at + 1, count


TIFF_OFFSETS = (273, 324)  # the tags that list the offsets of strips and tiles
TIFF_STRIP_COST = 4  # Pillow sets up a decoder for each strip or tile
TIFF_MAX_STRIPS = 2**32  # that are counted: BigTIFF may announce more than `repeat` can count, and any limit is lower


def tiff(data: bytes) -> Iterator[Block]:
    """Yield the pages of a TIFF, which may overlap, their tags, and the strips and tiles that these list."""
    order: Literal["little", "big"] = "little" if data.startswith(b"II") else "big"
    big = 43 in data[2:4]  # BigTIFF, in which all lengths double
    first, count_bytes, entry_bytes, link_bytes = (8, 8, 20, 8) if big else (4, 2, 12, 4)

    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], order)

    seen = {0}
    page = number(first, link_bytes)
    while page not in seen and page < len(data):
        seen.add(page)
        yield Block.FRAME
        tags = min(number(page, count_bytes), len(data) // entry_bytes)
        for entry in range(page + count_bytes, page + count_bytes + entry_bytes * tags, entry_bytes):
            strips = min(number(entry + 4, link_bytes), TIFF_MAX_STRIPS) if number(entry, 2) in TIFF_OFFSETS else 0
            yield from repeat(Block.OTHER, 1 + TIFF_STRIP_COST * strips)
        page = number(page + count_bytes + entry_bytes * tags, link_bytes)


AVIF_LISTS = (b"iinf", b"iloc", b"iref", b"ipma")
AVIF_PROPERTY_COST = 20


def avif(data: bytes) -> Iterator[Block]:
    """Yield the item lists of an AVIF, by the byte, and the item properties: libavif searches all items for each."""
    for kind, start, end in avif_boxes(data, 0, len(data)):
        if kind == b"meta":
            yield from avif_items(data, start + 4, end)


def avif_items(data: bytes, start: int, end: int) -> Iterator[Block]:
    """Yield the cost of the boxes that describe items."""
    for kind, inner, last in avif_boxes(data, start, end):
        if kind == b"iprp":
            yield from avif_items(data, inner, last)
        elif kind == b"ipco":
            yield from repeat(Block.OTHER, AVIF_PROPERTY_COST * sum(1 for _ in avif_boxes(data, inner, last)))
        elif kind in AVIF_LISTS:
            yield from repeat(Block.OTHER, last - inner)


def avif_boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the boxes between two offsets: kind, start and end of the content."""
    while start + 8 <= end:
        size, head = int.from_bytes(data[start : start + 4], "big"), 8
        if size == 1:
            size, head = int.from_bytes(data[start + 8 : start + 16], "big"), 16
        last = min(end, start + size) if size else end
        if last < start + head:
            return
        yield data[start + 4 : start + 8], start + head, last
        start = last


WALKS = {
    b"\xff\xd8": jpeg,
    b"\x89PNG": png,
    b"GIF8": gif,
    b"II": tiff,
    b"MM": tiff,
}
"""The walkers, by the first bytes of a file."""
