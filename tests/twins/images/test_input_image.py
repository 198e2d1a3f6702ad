"""Images that their decoder reduces are those that it does not, only smaller."""

import numpy as np
import pytest
from PIL import Image

from tests.crafted import encoded, image
from twins.card import Card, Geometry, Label, Normalisation
from twins.images.decode import Limits, decode, to_array
from twins.tasks.classify import CLASSIFY, ClassifyOptions
from twins.tasks.segment import SEGMENT, SegmentOptions

SIDE = 32  # of the network's input
MARGIN = 4
ORIENTATION = 0x0112
CARDS = {
    "classify": Card("m", "classify", "", (Label("a"),), Geometry(SIDE), Normalisation(), True, "", ""),
    "segment": Card("m", "segment", "", (Label("a"),), Geometry(SIDE, long_side=128), Normalisation(), True, "", ""),
}
TASKS = {"classify": (CLASSIFY, ClassifyOptions()), "segment": (SEGMENT, SegmentOptions())}


def smooth(size, mode="RGB"):
    """Return an image without details, which looks the same after any way of reducing it."""
    return image(size=(9, 7)).resize(size, Image.Resampling.BICUBIC).convert(mode)


def read(data, *, short=SIDE, announced=None):
    """Decode an image for a network's input with this short side."""
    return decode(
        data,
        Limits(),
        exif_orientation=True,
        smallest_size=lambda size: tuple(MARGIN * short * side // min(size) for side in size),
        reserve=(announced if announced is not None else []).append,
    )


def samples(data, task):
    """Return the exact and the fast sample of a file."""
    (task, options), card = TASKS[task], CARDS[task]
    exact = decode(data, Limits(), exif_orientation=True)
    fast = decode(data, Limits(), exif_orientation=True, smallest_size=lambda size: task.smallest_size(size, card))
    assert (exact.reduced, fast.reduced) == (False, True)
    return task.preprocess(exact, card, options), task.preprocess(fast, card, options)


@pytest.mark.parametrize(("times", "reduction"), [(1, 1), (2, 2), (3, 2), (4, 4), (8, 8), (20, 8)])
def test_a_jpeg_is_reduced_as_far_as_the_margin_allows(times, reduction):
    side = MARGIN * SIDE * times
    found = read(encoded("JPEG", smooth((side, side))))
    assert (found.size, found.pixels.size) == ((side, side), (side // reduction, side // reduction))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "BMP"])
def test_other_types_keep_their_size(kind):
    assert not read(encoded(kind, smooth((900, 800)))).reduced


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(1101, 809), (603, 523)])  # no multiples of the reduction, which is 4 and 2
def test_an_image_of_odd_sides_is_in_the_same_place_however_it_is_turned(task, orientation, size):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exact, fast = samples(encoded("JPEG", smooth(size), exif=exif, quality=95, subsampling="4:2:0"), task)
    assert fast.params == exact.params
    assert np.abs(fast.pixels.astype(int) - exact.pixels).mean() < 1


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_every_kind_of_jpeg_is_reduced(mode, progressive):
    exact, fast = samples(encoded("JPEG", smooth((1200, 900), mode), quality=95, progressive=progressive), "classify")
    assert np.abs(fast.pixels.astype(int) - exact.pixels).mean() < 1


def test_a_mask_has_the_size_of_the_image_and_not_of_the_reduced_one():
    _, fast = samples(encoded("JPEG", smooth((1200, 900))), "segment")
    assert fast.params.output_size == (900, 1200)


def test_only_the_pixels_of_the_reduced_image_are_announced():
    announced = []
    read(encoded("JPEG", smooth((1200, 900))), announced=announced)
    assert announced == [300 * 225]


def test_all_pixels_are_announced_if_the_decoder_buffers_them():
    announced = []
    read(encoded("JPEG", smooth((1200, 900)), progressive=True), announced=announced)
    assert announced == [1200 * 900]


@pytest.mark.parametrize("size", [(1, 1), (700, 401), (3, 90000), (200_000, 2)])
def test_an_array_has_all_rows_of_an_image_of_any_shape(size):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    assert (to_array(Image.fromarray(pixels)) == pixels).all()


@pytest.mark.parametrize(("task", "times"), [("classify", 8), ("segment", 4)])
def test_each_task_has_its_own_margin(task, times):
    smallest = TASKS[task][0].smallest_size((4000, 4000), CARDS[task])
    assert smallest == (times * SIDE, times * SIDE)
