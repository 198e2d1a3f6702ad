"""Untrusted images: which are rejected with which error, and which are decoded to which pixels."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import AvifImagePlugin, Image, ImageFile, TiffImagePlugin, WebPImagePlugin

from tests import hostile
from tests.crafted import encoded, image
from twins.images import decode
from twins.images.decode import ImageError, Limits, NotAnImage, TooLarge

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, on damaged files

FILES = hostile.files()
TAKEN = [name for name, file in FILES.items() if file.outcome == hostile.OK]
LIMITS = Limits()


def read(data, *, limits=LIMITS, exif_orientation=True):
    return decode.decode(data, limits, exif_orientation=exif_orientation).pixels


def outcome(data):
    try:
        read(data)
    except ImageError as error:
        return type(error)
    return hostile.OK


@pytest.fixture
def no_pixels(monkeypatch):
    """Raise an error that no handler in Pillow catches when a pixel is decoded."""

    class PixelsDecodedError(BaseException):
        pass

    def fail(_):
        raise PixelsDecodedError

    for plugin in (
        ImageFile.ImageFile,
        WebPImagePlugin.WebPImageFile,
        AvifImagePlugin.AvifImageFile,
        TiffImagePlugin.TiffImageFile,
    ):
        monkeypatch.setattr(plugin, "load", fail)


@pytest.mark.parametrize("name", FILES)
def test_each_file_has_its_documented_outcome(name):
    assert outcome(FILES[name].data) == FILES[name].outcome


@pytest.mark.parametrize("name", TAKEN)
def test_every_image_becomes_rgb_of_8_bits(name):
    assert read(FILES[name].data).mode == "RGB"


@pytest.mark.parametrize("name", [name for name, file in FILES.items() if file.outcome == TooLarge])
def test_an_image_that_is_too_large_is_rejected_before_a_pixel_is_decoded(name, no_pixels):
    with pytest.raises(TooLarge):
        read(FILES[name].data)


@pytest.mark.parametrize("limit", [{"max_pixels": 0}, {"max_side": 0}], ids=str)
@pytest.mark.parametrize("name", TAKEN)
def test_the_size_of_every_type_is_known_before_a_pixel_is_decoded(name, limit, no_pixels):
    with pytest.raises(TooLarge):
        read(FILES[name].data, limits=dataclasses.replace(LIMITS, **limit))


@pytest.mark.parametrize("name", ["gif-animated", "png-animated", "webp-animated"])
def test_the_frames_of_every_animation_are_counted_before_a_pixel_is_decoded(name, no_pixels):
    with pytest.raises(TooLarge, match="3 frames"):
        read(FILES[name].data, limits=dataclasses.replace(LIMITS, max_frames=2))


@pytest.mark.parametrize("name", ["gif-animated", "png-animated", "webp-animated"])
def test_an_animation_shows_its_first_frame(name):
    assert off_by(read(FILES[name].data), image()) < 16


@pytest.mark.parametrize(
    ("limit", "value"), [("max_bytes", 0), ("max_pixels", 1), ("max_side", 1), ("max_frames", 1), ("max_blocks", 3)]
)
def test_a_limit_is_the_largest_accepted_value(limit, value):
    data = encoded("PNG", image(size=(1, 1)))
    limits = dataclasses.replace(LIMITS, **{limit: value or len(data)})
    assert read(data, limits=limits).size == (1, 1)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("svg", "SVG"),
        ("svg-with-declaration", "SVG"),
        ("pdf", "PDF"),
        ("html", "HTML"),
        ("zip-with-an-image", "ZIP"),
        ("heic", "HEIC"),
        ("heic-of-the-general-brand", "HEIC"),
        ("jpeg-xl-container", "JPEG XL"),
        ("empty", "empty"),
    ],
)
def test_an_error_names_the_type_of_another_file(name, word):
    with pytest.raises(NotAnImage, match=word):
        read(FILES[name].data)


# pixels


def off_by(found, expected):
    """Return the mean difference, of 255. Lossy files differ a little."""
    return np.abs(np.asarray(found, int) - np.asarray(expected.convert("RGB"), int)).mean()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_files_keep_every_pixel(kind):
    assert np.array_equal(np.asarray(read(encoded(kind))), np.asarray(image()))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF", "GIF"])
def test_lossy_files_differ_little(kind):
    assert off_by(read(encoded(kind)), image()) < 16


@pytest.mark.parametrize("name", ["png-grey-of-16-bits", "tiff-grey-of-16-bits"])
def test_grey_of_16_bits_keeps_its_upper_8(name):
    upper = (np.asarray(hostile.sixteen_bits()) >> 8).astype(np.uint8)
    assert np.array_equal(np.asarray(read(FILES[name].data)), np.stack([upper] * 3, axis=2))


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "1"), ("PNG", "P"), ("GIF", "P"), ("PNG", "L"), ("TIFF", "CMYK"), ("BMP", "1")]
)
def test_every_pixel_type_keeps_its_colours(kind, mode):
    assert off_by(read(encoded(kind, image(mode))), image(mode)) == 0


def test_the_inks_of_a_jpeg_are_not_inverted():
    assert off_by(read(FILES["jpeg-cmyk"].data), image("CMYK")) < 16


def test_luminance_and_chrominance_of_inks_are_converted_back():
    grey = image("L")
    assert off_by(read(FILES["jpeg-ycck"].data), read(hostile.inks(grey, grey, grey))) < 4


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_colours_under_transparency_are_kept(mode):
    see_through = image(mode)
    see_through.putalpha(0)
    assert off_by(read(encoded("PNG", see_through)), see_through) == 0


# orientation

SHOWN_TOP_LEFT = {  # the stored corner that each value moves to the top left, as (right, bottom)
    1: (0, 0),
    2: (1, 0),
    3: (1, 1),
    4: (0, 1),
    5: (0, 0),
    6: (0, 1),
    7: (1, 1),
    8: (1, 0),
}


def marked(value, kind="PNG"):
    """Return a black image of 32x16 pixels with a white corner that belongs to the top left."""
    right, bottom = SHOWN_TOP_LEFT[value]
    stored = Image.new("RGB", (32, 16))
    stored.paste((255, 255, 255), (24 * right, 8 * bottom, 24 * right + 8, 8 * bottom + 8))
    return hostile.oriented(kind, value, stored)


def white_corner(shown):
    """Return the white corner as (right, bottom)."""
    rows, columns = np.nonzero(np.asarray(shown.convert("L")) > 128)
    return int(columns.mean() > shown.width / 2), int(rows.mean() > shown.height / 2)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF"])
@pytest.mark.parametrize("value", SHOWN_TOP_LEFT)
def test_orientation_moves_the_marked_corner_to_the_top_left(value, kind):
    assert white_corner(read(marked(value, kind))) == (0, 0)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF"])
@pytest.mark.parametrize("value", SHOWN_TOP_LEFT)
def test_orientations_from_five_up_swap_width_and_height(value, kind):
    assert read(marked(value, kind)).size == ((16, 32) if value >= 5 else (32, 16))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF"])
@pytest.mark.parametrize("value", SHOWN_TOP_LEFT)
def test_orientation_is_ignored_if_it_is_switched_off(value, kind):
    assert white_corner(read(marked(value, kind), exif_orientation=False)) == SHOWN_TOP_LEFT[value]


@pytest.mark.parametrize("name", ["jpeg-of-damaged-exif", "jpeg-of-a-textual-orientation"])
def test_damaged_exif_does_not_rotate_an_image(name):
    assert off_by(read(FILES[name].data), image()) < 16


# random bytes


@st.composite
def mutated(draw):
    """Return a real file with a few bytes changed, a piece removed, or its end cut off."""
    data = bytearray(FILES[draw(st.sampled_from(SMALL))].data)
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    start = draw(st.integers(0, len(data)))
    del data[start : start + draw(st.integers(0, 20))]
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


SMALL = [name for name, file in FILES.items() if 20 < len(file.data) < 20_000]


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(mutated())
def test_a_damaged_file_raises_only_image_errors(data):
    assert outcome(data) in {hostile.OK, *ImageError.__subclasses__()}


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([mark for offset, mark in decode.SIGNATURES if not offset]), st.binary(max_size=400))
def test_random_bytes_after_a_signature_raise_only_image_errors(signature, rubbish):
    assert outcome(signature + rubbish) in {hostile.OK, *ImageError.__subclasses__()}


DECODE_ALL = """
import resource
from tests import hostile
from tests.twins.images.test_decode import outcome
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # from here on, writing to a file kills the process
for file in hostile.files().values():
    outcome(file.data)
"""


def test_nothing_is_written_to_disk(tmp_path):
    surroundings = {
        **os.environ,
        "TMPDIR": str(tmp_path),
        "PYTHONPATH": str(Path.cwd()),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run([sys.executable, "-c", DECODE_ALL], cwd=tmp_path, env=surroundings, check=False)
    assert (done.returncode, list(tmp_path.iterdir())) == (0, [])
