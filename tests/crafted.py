"""Image files that are built byte by byte, since no encoder writes them."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

Tag = tuple[int, int, int, int]  # of a TIFF: id, type, count, value or offset


def image(mode: str = "RGB", size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Return a smooth image with some detail. Every call returns the same image."""
    width, height = size
    rows, columns = np.mgrid[0:height, 0:width]
    red, green = columns * 255 // max(1, width - 1), rows * 255 // max(1, height - 1)
    rgb = np.stack([red, green, (red ^ green) & 255], axis=2).astype(np.uint8)
    return Image.fromarray(rgb).convert(mode)


def encoded(kind: str, source: Image.Image | None = None, **options) -> bytes:
    """Return an image as a file."""
    buffer = io.BytesIO()
    (source or image()).save(buffer, kind, **options)
    return buffer.getvalue()


# PNG

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return one PNG chunk with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int, *, bits: int = 8, colour: int = 2) -> bytes:
    """Return the signature and the header chunk."""
    return PNG_SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))


def png_claiming(width: int, height: int) -> bytes:
    """Return a PNG whose header gives this size, with pixels for a fraction of it."""
    return png_header(width, height) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def png_with(chunks: bytes) -> bytes:
    """Return an ordinary PNG with these chunks after its header."""
    png = encoded("PNG")
    return png[:33] + chunks + png[33:]


def apng_claiming(frames: int) -> bytes:
    """Return an ordinary PNG whose header announces an animation."""
    return png_with(chunk(b"acTL", struct.pack(">II", frames, 0)))


# JPEG


def segment(marker: int, data: bytes) -> bytes:
    """Return one JPEG segment."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def jpeg_with(segments: bytes) -> bytes:
    """Return an ordinary JPEG with these segments at its start."""
    return b"\xff\xd8" + segments + encoded("JPEG")[2:]


def jpeg_claiming(width: int, height: int) -> bytes:
    """Return an ordinary JPEG whose header gives this size."""
    jpeg = encoded("JPEG")
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]


def jpeg_of_scans(side: int, scans: int) -> bytes:
    """Return a progressive grey JPEG whose scans state in a few bytes that no coefficient changes."""
    blocks = (side // 8) ** 2
    start = b"\xff\xd8" + segment(0xDB, b"\0" + b"\x01" * 64)
    frame = segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + bytes([1, 0x11, 0]))
    tables = segment(0xC4, bytes([0x00, 1, *[0] * 15, 0])) + segment(0xC4, bytes([0x10, 1, *[0] * 15, 0xE0]))
    first = segment(0xDA, bytes([1, 1, 0x00, 0, 0, 0])) + bytes(-(-blocks // 8))
    runs = ("0" + "1" * 14) * -(-blocks // (2**15 - 1))  # each run skips 2**15 - 1 blocks
    runs += "1" * (-len(runs) % 8)
    skip = int(runs, 2).to_bytes(len(runs) // 8, "big").replace(b"\xff", b"\xff\x00")
    again = segment(0xDA, bytes([1, 1, 0x00, 1, 63, 0])) + skip
    return start + frame + tables + first + again * scans + b"\xff\xd9"


# GIF


def gif_header(width: int = 8, height: int = 8) -> bytes:
    """Return the signature, the screen descriptor and a table of two colours."""
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"


GIF_FRAME = b"\x2c\0\0\0\0\x01\0\x01\0\0" + b"\x02\x02\x44\x01\0"  # one pixel


def gif_frames(count: int) -> bytes:
    """Return a GIF with this many frames of one pixel."""
    return gif_header() + GIF_FRAME * count + b"\x3b"


def gif_comments(count: int) -> bytes:
    """Return a GIF with this many comments before its frame."""
    return gif_header() + b"\x21\xfe\x01a\0" * count + GIF_FRAME + b"\x3b"


# BMP, WebP


def bmp(width: int, height: int, *, bits: int = 24, compression: int = 0) -> bytes:
    """Return the header of a BMP without pixels. A negative height means rows from top to bottom."""
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, 0, 0)
    palette = bytes(4 * 2**bits) if bits == 8 else b""
    return b"BM" + struct.pack("<IHHI", 54 + len(palette), 0, 0, 54 + len(palette)) + info + palette


def bmp_of_runs(width: int, height: int) -> bytes:
    """Return a BMP in run lengths. Each line has one pixel, and the decoder fills the rest."""
    return bmp(width, height, bits=8, compression=1) + b"\x01\x07\0\0" * height + b"\0\1"


def webp_claiming(width: int, height: int) -> bytes:
    """Return an extended WebP whose canvas has another size than its image."""
    still = encoded("WEBP")[12:]
    canvas = struct.pack("<I", 0x10)[:4] + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", len(canvas)) + canvas + still
    return b"RIFF" + struct.pack("<I", len(body)) + body


# AVIF


def box(kind: bytes, content: bytes) -> bytes:
    """Return one AVIF box."""
    return struct.pack(">I", 8 + len(content)) + kind + content


def avif_of_items(count: int) -> bytes:
    """Return an AVIF with a list of this many items and nothing else."""
    item = box(b"infe", b"\x02\0\0\0" + b"\0\1\0\0" + b"av01" + b"\0")
    items = box(b"iinf", b"\0\0\0\0" + struct.pack(">H", count) + item * count)
    return box(b"ftyp", b"avif\0\0\0\0avifmif1") + box(b"meta", b"\0\0\0\0" + items)


# TIFF

STRIP = 8  # the offset of the pixels in a crafted TIFF

TIFF_TAGS: list[Tag] = [
    (256, 4, 1, 8),  # width
    (257, 4, 1, 8),  # height
    (258, 3, 1, 8),  # bits
    (259, 3, 1, 1),  # no compression
    (262, 3, 1, 1),  # grey
    (273, 4, 1, STRIP),
    (277, 3, 1, 1),  # one channel
    (278, 4, 1, 8),  # rows per strip
    (279, 4, 1, 64),  # bytes per strip
]


def directory(tags: list[Tag], following: int = 0) -> bytes:
    """Return the tags of a page and the offset of the next page."""
    return (
        struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *t) for t in tags) + struct.pack("<I", following)
    )


def tags_with(*changed: Tag) -> list[Tag]:
    """Return the tags of a grey image of 8x8 pixels, with these tags changed."""
    return sorted(({tag[0]: tag for tag in TIFF_TAGS} | {tag[0]: tag for tag in changed}).values())


def tiff(tags: list[Tag], *, following: int = 0) -> bytes:
    """Return a TIFF with one page and 64 bytes of pixels."""
    return b"II*\0" + struct.pack("<I", STRIP + 64) + bytes(range(64)) + directory(tags, following)


def tiff_big_of_strips(count: int) -> bytes:
    """Return a BigTIFF whose only tag announces this many strips."""
    return b"II+\0\x08\0\0\0" + struct.pack("<QQHHQQQ", 16, 1, 273, 16, count, 0, 0)


def tiff_pages(count: int) -> bytes:
    """Return a TIFF with this many pages that share their pixels."""
    data = bytearray(b"II*\0" + struct.pack("<I", STRIP + 64) + bytes(64))
    for index in range(count):
        last = index == count - 1
        data += directory(TIFF_TAGS, 0 if last else len(data) + len(directory(TIFF_TAGS)))
    return bytes(data)


def tiff_of_overlapping_pages(pages: int, tags: int) -> bytes:
    """Return a TIFF of a few kilobytes with millions of tags: each page starts one tag after the previous one."""
    start, size = STRIP + 64, 12
    entry = struct.pack("<HHII", tags, 0, 0, 0)  # the first bytes of a page are its number of tags
    data = bytearray(b"II*\0" + struct.pack("<I", start) + bytes(64) + entry * (pages + tags + 1))
    for page in range(pages - 1):
        at = start + size * page + 2 + size * tags
        data[at : at + 4] = struct.pack("<I", start + size * (page + 1))
    return bytes(data)


def tiff_of_tiles(side: int) -> bytes:
    """Return a grey square TIFF of one-pixel tiles that all have the same offset."""
    count, lists = side * side, STRIP + 64
    tags = [
        (256, 4, 1, side),
        (257, 4, 1, side),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (277, 3, 1, 1),
        (322, 4, 1, 1),  # tile width
        (323, 4, 1, 1),  # tile height
        (324, 4, count, lists),  # tile offsets
        (325, 4, count, lists + 4 * count),  # tile sizes
    ]
    offsets, sizes = struct.pack("<I", STRIP) * count, struct.pack("<I", 1) * count
    return b"II*\0" + struct.pack("<I", lists + 8 * count) + bytes(64) + offsets + sizes + directory(tags)
