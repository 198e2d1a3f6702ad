"""Hostile files (damaged, oversized, mislabelled or unusual) and the expected outcome of each.

`files()` always returns the same files. The outcome of a file is `OK`, or the error of `twins.images.decode` under the
default limits. A client sees the error as

| class       | HTTP | gRPC             |
|-------------|------|------------------|
| NotAnImage  | 415  | INVALID_ARGUMENT |
| TooLarge    | 413  | INVALID_ARGUMENT |
| Undecodable | 422  | INVALID_ARGUMENT |
"""

import gzip
import io
import zipfile
import zlib
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from tests import crafted
from tests.crafted import chunk, encoded, image, segment, tags_with
from twins.images.decode import ImageError, Limits, NotAnImage, TooLarge, Undecodable

OK: Literal["ok"] = "ok"
ORIENTATION = 0x0112
BOMB = zlib.compress(bytes(50_000_000))


class File(NamedTuple):
    """A file and its expected outcome."""

    data: bytes
    outcome: Literal["ok"] | type[ImageError]


@cache
def files() -> dict[str, File]:
    """Return all files by name."""
    return {
        **{name: File(data, NotAnImage) for name, data in other_types().items()},
        **{name: File(data, TooLarge) for name, data in oversized().items()},
        **{name: File(data, Undecodable) for name, data in broken().items()},
        **{name: File(data, OK) for name, data in odd().items()},
    }


def other_types() -> dict[str, bytes]:
    """Return files that are not of a supported type."""
    return {
        "empty": b"",
        "one-byte": b"\xff",
        "half-a-signature": b"\xff\xd8",
        "text": b"This is not an image.\n" * 10,
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>',
        "svg-with-declaration": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"></svg>',
        "xml-entity-bomb": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]><a>&c;</a>',
        "html": b"<!DOCTYPE html><html><body>404</body></html>",
        "json": b'{"image": "aGVsbG8="}',
        "pdf": b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n%%EOF\n",
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
        "zip-with-an-image": archive(),
        "gzipped-image": gzip.compress(encoded("PNG"), mtime=0),
        "elf": b"\x7fELF\x02\x01\x01" + bytes(57),
        "windows-program": b"MZ\x90\x00" + bytes(60),
        "shell-script": b"#!/bin/sh\nrm -rf /\n",
        "mp4": b"\x00\x00\x00\x18ftypmp42" + bytes(64),
        "heic": b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(64),
        "heic-of-the-general-brand": b"\x00\x00\x00\x1cftypmif1\x00\x00\x00\x00mif1heicmiaf" + bytes(64),
        "jpeg-xl": b"\xff\x0a" + bytes(32),
        "jpeg-xl-container": b"\x00\x00\x00\x0cJXL \r\n\x87\n" + bytes(32),
        "jpeg-2000": encoded("JPEG2000"),
        "photoshop": b"8BPS\x00\x01" + bytes(20),
        "icon": encoded("ICO"),
        "ppm": encoded("PPM"),
        "targa": encoded("TGA"),
        "base64-text": b"/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAgGBgcG",
        "wav": b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(32),
        "image-behind-a-line-feed": b"\n" + encoded("PNG"),
    }


def oversized() -> dict[str, bytes]:
    """Return files that exceed a limit, as their header or structure shows."""
    return {
        "over-the-byte-limit": encoded("JPEG") + bytes(Limits().max_bytes),
        "png-bomb": crafted.png_claiming(16_000, 16_000),
        "png-of-two-gigapixels": crafted.png_claiming(50_000, 50_000),
        "png-of-one-row": crafted.png_claiming(100_000, 1),
        "png-of-one-column": crafted.png_claiming(1, 100_000),
        "png-of-two-billion-columns": crafted.png_claiming(2**31 - 1, 1),
        "png-of-countless-compressed-texts": crafted.png_with(chunk(b"zTXt", b"a\0\0" + BOMB) * 60),
        "avif-of-countless-items": crafted.avif_of_items(65_000),
        "png-of-countless-chunks": crafted.png_with(chunk(b"prVt", b"") * 120_000),
        "apng-of-countless-frames": crafted.apng_claiming(2_000),
        "jpeg-of-four-gigapixels": crafted.jpeg_claiming(65_500, 65_500),
        "jpeg-of-countless-segments": crafted.jpeg_with(segment(0xFE, b"") * 120_000),
        "jpeg-of-endless-padding": crafted.jpeg_with(b"\xff" * 200_000),
        "jpeg-of-countless-scans": crafted.jpeg_of_scans(side=4096, scans=2000),
        "gif-of-a-million-frames": crafted.gif_frames(1_000_000),
        "gif-of-a-huge-canvas": crafted.gif_header(65_535, 65_535) + crafted.GIF_FRAME,
        "gif-of-countless-comments": crafted.gif_comments(120_000),
        "bmp-of-a-huge-side": crafted.bmp(1_000_000, 1),
        "bmp-of-a-gigapixel": crafted.bmp(32_000, -32_000),
        "bmp-of-long-run-lengths": crafted.bmp_of_runs(16_384, 3_000),
        "webp-of-the-largest-canvas": crafted.webp_claiming(16_383, 16_383),
        "tiff-of-a-huge-side": crafted.tiff(tags_with((256, 4, 1, 1_000_000))),
        "tiff-of-countless-tiles": crafted.tiff_of_tiles(700),
        "tiff-of-a-giant-tile": crafted.tiff(tags_with(*[(tag, 4, 1, 46_336) for tag in (322, 323)], (324, 4, 1, 8))),
        "tiff-of-countless-pages": crafted.tiff_pages(2_000),
        "tiff-of-more-strips-than-can-be-counted": crafted.tiff_big_of_strips(2**64 - 1),
        "tiff-of-overlapping-pages": crafted.tiff_of_overlapping_pages(pages=500, tags=4_000),
    }


def broken() -> dict[str, bytes]:
    """Return files of a supported type that are damaged or cannot be shown."""
    jpeg, png, gif, webp, avif = (encoded(kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "AVIF"))
    deflated = encoded("TIFF", compression="tiff_adobe_deflate")
    return {
        "jpeg-of-garbage": b"\xff\xd8\xff" + bytes(range(256)) * 4,
        "jpeg-signature-alone": b"\xff\xd8\xff\xe0",
        "jpeg-cut-in-its-header": jpeg[:100],
        "jpeg-cut-in-the-middle": jpeg[: len(jpeg) // 2],
        "jpeg-without-its-last-byte": jpeg[:-1],
        "jpeg-of-no-height": crafted.jpeg_claiming(64, 0),
        "jpeg-without-a-scan": jpeg[: jpeg.index(b"\xff\xda")] + b"\xff\xd9",
        "png-signature-alone": png[:8],
        "png-cut-in-the-middle": png[: len(png) // 2],
        "png-of-a-wrong-checksum": png[:29] + bytes([png[29] ^ 1]) + png[30:],
        "png-of-garbage": crafted.png_header(8, 8) + chunk(b"IDAT", bytes(range(256))) + chunk(b"IEND", b""),
        "png-of-no-size": crafted.png_claiming(0, 0),
        "png-of-wrong-dimensions": crafted.png_claiming(3_000, 3_000),
        "png-of-a-text-bomb": crafted.png_with(chunk(b"zTXt", b"k\0\0" + BOMB)),
        "png-of-a-profile-bomb": crafted.png_with(chunk(b"iCCP", b"p\0\0" + BOMB)),
        "png-of-an-unknown-colour-type": crafted.png_header(8, 8, colour=5),
        "gif-header-alone": gif[:13],
        "gif-cut-in-the-middle": gif[: len(gif) // 2],
        "gif-without-a-frame": crafted.gif_frames(0),
        "bmp-header-alone": b"BM" + bytes(12),
        "bmp-cut-in-the-middle": encoded("BMP")[:2000],
        "bmp-of-no-bits": crafted.bmp(8, 8, bits=0),
        "bmp-without-pixels": crafted.bmp(8, 8),
        "bmp-of-run-lengths-without-data": crafted.bmp(64, 64, bits=8, compression=1),
        "text-that-starts-like-a-bmp": b"BMW makes cars.\n" * 10,
        "webp-header-alone": webp[:12],
        "webp-cut-in-the-middle": webp[: len(webp) // 2],
        "webp-of-garbage": webp[:20] + bytes(range(256)) * 2,
        "avif-header-alone": avif[:32],
        "avif-cut-in-the-middle": avif[: len(avif) // 2],
        "avif-of-garbage": avif[:32] + bytes(range(256)) * 2,
        "avif-of-damaged-pixels": avif.replace(b"mdat" + avif[avif.index(b"mdat") + 4 :][:1], b"mdat\0"),
        "avif-without-its-item": avif.replace(b"av1C", b"free"),
        "tiff-header-alone": b"II*\0\x08\0\0\0",
        "tiff-without-tags": crafted.tiff([]),
        "tiff-of-absurd-counts": crafted.tiff([(256, 4, 2**32 - 1, 8), (257, 4, 2**32 - 1, 8)]),
        "tiff-of-giant-strips": crafted.tiff(tags_with((273, 4, 1, 2**31), (279, 4, 1, 2**32 - 1))),
        "tiff-cut-in-the-middle": deflated[: len(deflated) // 2],
        "tiff-of-an-unknown-compression": crafted.tiff(tags_with((259, 3, 1, 999))),
        "tiff-of-floating-point": encoded("TIFF", image("F")),
        "tiff-of-32-bit-integers": encoded("TIFF", image("I")),
        "zip-behind-a-jpeg-signature": b"\xff\xd8\xff" + archive(),
    }


def odd() -> dict[str, bytes]:
    """Return files that are unusual or slightly damaged, and can be decoded."""
    jpeg, gif = encoded("JPEG"), encoded("GIF")
    return {
        "jpeg-of-too-few-pixels": crafted.jpeg_claiming(640, 480),
        "jpeg-progressive": encoded("JPEG", progressive=True),
        "jpeg-grey": encoded("JPEG", image("L")),
        "jpeg-cmyk": encoded("JPEG", image("CMYK")),
        "jpeg-ycck": ycck(),
        "jpeg-and-zip-at-once": jpeg + archive(),
        "jpeg-with-a-page-in-it": crafted.jpeg_with(segment(0xFE, b"<script>alert(1)</script>")),
        "jpeg-of-two-images": encoded("MPO", save_all=True, append_images=[image()]),
        "jpeg-of-damaged-exif": crafted.jpeg_with(segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\x7f" + b"\xee" * 40)),
        "jpeg-of-a-textual-orientation": crafted.jpeg_with(
            segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0" + crafted.directory([(ORIENTATION, 2, 4, 0x36363636)]))
        ),
        "jpeg-of-orientation-ninety-nine": oriented("JPEG", 99),
        **{f"jpeg-of-orientation-{value}": oriented("JPEG", value) for value in range(1, 9)},
        "png-of-orientation-6": oriented("PNG", 6),
        "webp-of-orientation-6": oriented("WEBP", 6),
        "avif-of-orientation-6": oriented("AVIF", 6),
        "tiff-of-orientation-6": oriented("TIFF", 6),
        "png-of-one-bit": encoded("PNG", image("1")),
        "png-grey-of-16-bits": encoded("PNG", sixteen_bits()),
        "png-palette": encoded("PNG", image("P")),
        "png-palette-with-transparency": encoded("PNG", image("P"), transparency=bytes([0, 128, 255])),
        "png-grey-with-alpha": encoded("PNG", image("LA")),
        "png-with-alpha": encoded("PNG", image("RGBA")),
        "png-of-one-pixel": encoded("PNG", image(size=(1, 1))),
        "png-animated": encoded("PNG", save_all=True, append_images=[image("RGB").rotate(90), image()]),
        "gif-animated": encoded("GIF", save_all=True, append_images=[image("RGB").rotate(90), image()]),
        "gif-transparent": encoded("GIF", image("P"), transparency=3),
        "gif-without-its-end": gif[:-1],
        "bmp-of-one-bit": encoded("BMP", image("1")),
        "bmp-of-invalid-run-lengths": crafted.bmp(64, 64, bits=8, compression=1) + bytes([0, 2, 255, 255]) * 20,
        "bmp-from-top-to-bottom": crafted.bmp(8, -8) + bytes(range(192)),
        "webp-lossless-with-alpha": encoded("WEBP", image("RGBA"), lossless=True),
        "webp-animated": encoded("WEBP", save_all=True, append_images=[image("RGB").rotate(90), image()]),
        "avif": encoded("AVIF"),
        "tiff-deflated": encoded("TIFF", compression="tiff_adobe_deflate"),
        "tiff-of-one-bit-by-fax": encoded("TIFF", image("1"), compression="group4"),
        "tiff-grey-of-16-bits": encoded("TIFF", sixteen_bits()),
        "tiff-cmyk": encoded("TIFF", image("CMYK")),
        "tiff-big": encoded("TIFF", big_tiff=True),
        "tiff-of-pages-in-a-circle": crafted.tiff(crafted.TIFF_TAGS, following=72),
        "tiff-of-pages-beyond-its-end": crafted.tiff(crafted.TIFF_TAGS, following=2**31),
    }


def archive() -> bytes:
    """Return a ZIP archive that contains an image."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(zipfile.ZipInfo("cat.jpg"), encoded("JPEG"))
    return buffer.getvalue()


def oriented(kind: str, value: int, image: Image.Image | None = None) -> bytes:
    """Return a file with an EXIF orientation."""
    exif = Image.Exif()
    exif[ORIENTATION] = value
    return encoded(kind, image, exif=exif)


def sixteen_bits() -> Image.Image:
    """Return a grey image with values from 0 to 65535."""
    return Image.fromarray(np.linspace(0, 65535, 64 * 48).astype(np.uint16).reshape(48, 64))


def inks(cyan: Image.Image, magenta: Image.Image, yellow: Image.Image) -> bytes:
    """Return a CMYK JPEG of these inks, without black."""
    return encoded("JPEG", Image.merge("CMYK", (cyan, magenta, yellow, Image.new("L", cyan.size))))


def ycck() -> bytes:
    """Return a grey YCCK JPEG, in which the inks are stored as luminance and chrominance."""
    neutral = Image.new("L", (64, 48), 127)  # stored inverted as 128, which is no colour
    jpeg = inks(ImageOps.invert(image("L")), neutral, neutral)
    at = jpeg.index(b"Adobe") + 11  # the colour transform; 2: YCCK
    return jpeg[:at] + b"\x02" + jpeg[at + 1 :]
