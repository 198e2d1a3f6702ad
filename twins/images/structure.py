"""The blocks that image files consist of, found without decoding any.

Pillow goes through them one by one, in Python; it counts a GIF's frames by decoding them; and the JPEG library goes
through the whole image once a scan. A small file of many tiny blocks would hold each of them for minutes.

A walk never fails: a file that ends early has the blocks seen so far, and whether they suffice the decoder will tell.
"""

import re
from collections.abc import Iterator
from enum import Enum
from itertools import repeat
from typing import Literal


class Block(Enum):
    """What a block means for the cost of a file."""

    FRAME = "frame"
    SCAN = "scan"  # of a JPEG: one pass over all its pixels
    OTHER = "block"


def walk(data: bytes) -> Iterator[Block]:
    """The blocks of a JPEG, PNG, GIF, TIFF or AVIF file, in order; nothing for the types whose blocks cost nothing."""
    if data.startswith(b"ftyp", 4):
        return avif(data)
    return next((walker(data) for mark, walker in WALKS.items() if data.startswith(mark)), iter(()))


PNG_INFLATED = (b"iCCP", b"zTXt", b"iTXt")
PNG_INFLATED_COST = 2_000  # each may inflate to a megabyte


def png(data: bytes) -> Iterator[Block]:
    """A PNG's chunks."""
    at = 8
    while at < len(data):
        yield from repeat(Block.OTHER, PNG_INFLATED_COST if data[at + 4 : at + 8] in PNG_INFLATED else 1)
        at += 12 + int.from_bytes(data[at : at + 4], "big")


JPEG_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # not the stuffing and the restarts within a scan
JPEG_SCAN, JPEG_END = 0xDA, 0xD9
JPEG_ALONE = range(0xD0, 0xD9)  # markers without a length


def jpeg(data: bytes) -> Iterator[Block]:
    """A JPEG's segments and scans. Padding and rubbish before the first scan count by the byte, as Pillow skips it."""
    at, in_scans = 2, False
    while found := JPEG_MARKER.search(data, at):
        kind = data[found.end() - 1]
        if not in_scans:
            yield from repeat(Block.OTHER, found.start() - at)
        if kind == JPEG_END:
            return
        in_scans = in_scans or kind == JPEG_SCAN
        yield Block.SCAN if kind == JPEG_SCAN else Block.OTHER
        at = found.end() + (0 if kind in JPEG_ALONE else int.from_bytes(data[found.end() : found.end() + 2], "big"))
    yield from repeat(Block.OTHER, 0 if in_scans else len(data) - at)


GIF_IMAGE, GIF_EXTENSION, GIF_END, GIF_TABLE = 0x2C, 0x21, 0x3B, 0x80


def gif(data: bytes) -> Iterator[Block]:
    """A GIF's frames, extensions and the pieces of these. Rubbish counts by the byte, as Pillow skips it."""
    at = 13 + gif_table(data[10:11])
    while at < len(data) and data[at] != GIF_END:
        if data[at] == GIF_IMAGE:
            yield Block.FRAME
            at, _ = gif_pieces(data, at + 11 + gif_table(data[at + 9 : at + 10]))
        elif data[at] == GIF_EXTENSION:
            at, pieces = gif_pieces(data, at + 2)
            yield from repeat(Block.OTHER, 1 + pieces)
        else:
            yield Block.OTHER
            at += 1


def gif_table(flags: bytes) -> int:
    """The length of the colour table that a flag byte announces."""
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & GIF_TABLE else 0


def gif_pieces(data: bytes, at: int) -> tuple[int, int]:
    """Where the chain of data that starts at `at` ends, and of how many pieces it is."""
    pieces = 0
    while at < len(data) and data[at]:
        at += data[at] + 1
        pieces += 1
    return at + 1, pieces


TIFF_PIECES = (273, 324)  # the tags that list where strips and tiles are
TIFF_PIECE_COST = 4  # Pillow sets up a decoder for each


def tiff(data: bytes) -> Iterator[Block]:
    """A TIFF's pages, which may overlap, their tags, and the strips and tiles that these list."""
    order: Literal["little", "big"] = "little" if data.startswith(b"II") else "big"
    big = 43 in data[2:4]  # BigTIFF: all lengths double
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
            pieces = number(entry + 4, link_bytes) if number(entry, 2) in TIFF_PIECES else 0
            yield from repeat(Block.OTHER, 1 + TIFF_PIECE_COST * pieces)
        page = number(page + count_bytes + entry_bytes * tags, link_bytes)


AVIF_LISTS = (b"iinf", b"iloc", b"iref", b"ipma")
AVIF_PROPERTY_COST = 20


def avif(data: bytes) -> Iterator[Block]:
    """An AVIF's lists of items, by the byte, and their properties: the library searches all items for each entry."""
    for kind, start, end in avif_boxes(data, 0, len(data)):
        if kind == b"meta":
            yield from avif_items(data, start + 4, end)


def avif_items(data: bytes, start: int, end: int) -> Iterator[Block]:
    """What the boxes of a list of items cost."""
    for kind, inner, last in avif_boxes(data, start, end):
        if kind == b"iprp":
            yield from avif_items(data, inner, last)
        elif kind == b"ipco":
            yield from repeat(Block.OTHER, AVIF_PROPERTY_COST * sum(1 for _ in avif_boxes(data, inner, last)))
        elif kind in AVIF_LISTS:
            yield from repeat(Block.OTHER, last - inner)


def avif_boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The boxes between two places: their kind, and where their content begins and ends."""
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
"""By the first bytes of a file."""
