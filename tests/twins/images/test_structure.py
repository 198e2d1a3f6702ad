"""The blocks of image files, compared with what Pillow finds by reading them."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests import crafted
from tests.crafted import encoded, image, segment
from twins.images import structure as blocks
from twins.images.structure import Block


def count(data):
    return Counter(blocks.walk(data))


def frames(number):
    return [image().rotate(index) for index in range(number)]


@pytest.mark.parametrize("kind", ["GIF", "TIFF"])
@pytest.mark.parametrize("number", [1, 2, 7])
def test_frames_are_counted(kind, number):
    first, *others = frames(number)
    assert count(encoded(kind, first, save_all=True, append_images=others))[Block.FRAME] == number


def test_a_big_tiff_has_its_pages_counted():
    assert count(encoded("TIFF", save_all=True, append_images=frames(3), big_tiff=True))[Block.FRAME] == 4


def test_pages_in_a_circle_are_counted_once():
    assert count(crafted.tiff(crafted.TIFF_TAGS, following=72))[Block.FRAME] == 1


def test_tags_of_overlapping_pages_are_counted_for_each():
    assert count(crafted.tiff_of_overlapping_pages(pages=10, tags=20))[Block.OTHER] >= 200


def test_an_ordinary_jpeg_has_one_scan():
    assert count(encoded("JPEG"))[Block.SCAN] == 1


def test_a_progressive_jpeg_has_the_usual_ten_scans():
    assert count(encoded("JPEG", progressive=True))[Block.BUFFERED_SCAN] == 10


def test_data_after_the_end_of_a_jpeg_is_not_counted():
    film = segment(0xDA, b"") * 1000
    assert count(encoded("JPEG") + film) == count(encoded("JPEG"))


def test_a_scan_in_a_thumbnail_is_not_counted():
    thumbnail = segment(0xE1, b"Exif\0\0" + encoded("JPEG", image(size=(16, 16))))
    assert count(crafted.jpeg_with(thumbnail))[Block.SCAN] == 1


def test_restart_markers_are_not_counted():
    assert count(encoded("JPEG", restart_marker_blocks=1)) == count(encoded("JPEG", restart_marker_rows=1))


def test_a_large_image_has_few_blocks():
    original = Image.effect_noise((2000, 1500), 80)
    assert max(count(encoded(kind, original)).total() for kind in ("JPEG", "PNG", "GIF", "TIFF")) < 2000


@given(st.sampled_from(list(blocks.WALKS)), st.binary(max_size=300))
def test_a_walk_ends_for_any_bytes(mark, rubbish):
    assert count(mark + rubbish).total() < 100_000
