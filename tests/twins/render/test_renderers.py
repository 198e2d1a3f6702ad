"""Every format of a mask decodes to the same mask with independent tools."""

import base64
import io
import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as coco

from twins.card import Label
from twins.render import huggingface, npy, overlay, palette, png, polygons, rle
from twins.render.segmentation import background
from twins.tasks.segmentation import Segmentation, regions

FEW, MANY = 6, 300


@st.composite
def segmentations(draw, classes=FEW):
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    labels = tuple(Label(f"class {i}") for i in range(classes))
    dtype = np.uint8 if classes <= 255 else np.uint16
    ignore_index = np.iinfo(dtype).max
    values = st.one_of(st.integers(0, 2), st.integers(0, classes - 1), st.just(int(ignore_index)))
    coarse = draw(arrays(dtype, (height, width), elements=values, fill=st.integers(0, 1)))
    scale = draw(st.integers(1, 3))
    return Segmentation(np.kron(coarse, np.ones((scale, scale), dtype)), labels)


def known(found):
    return regions(found, palette.colours(found.labels))


@given(segmentations() | segmentations(classes=MANY))
def test_the_index_mask_is_the_mask(found):
    opened = Image.open(io.BytesIO(png.index(found)))
    assert np.array_equal(np.asarray(opened), found.mask)
    assert opened.mode == ("L" if found.mask.dtype == np.uint8 else "I;16")
    assert np.array_equal(cv2.imdecode(np.frombuffer(png.index(found), np.uint8), cv2.IMREAD_UNCHANGED), found.mask)


@given(segmentations())
def test_the_palette_mask_is_the_mask_and_shows_the_colours(found):
    colours = palette.colours(found.labels)
    opened = Image.open(io.BytesIO(png.palette(found, colours)))
    assert np.array_equal(np.asarray(opened), found.mask)
    shown = np.asarray(opened.convert("RGBA"))
    inside = found.mask < FEW
    assert np.array_equal(shown[inside][:, :3], colours[found.mask[inside]])
    assert np.array_equal(shown[..., 3] == 255, inside)


@given(segmentations() | segmentations(classes=MANY))
def test_run_lengths_equal_those_of_coco(found):
    encoded = rle.encode(found)
    assert sorted(encoded) == [i for i in np.unique(found.mask).tolist() if i != found.ignore_index]
    for class_id, runs in encoded.items():
        inside = (found.mask == class_id).astype(np.uint8)
        assert np.array_equal(coco.decode({"size": list(runs.size), "counts": runs.counts}), inside)
        assert coco.encode(np.asfortranarray(inside))["counts"].decode() == runs.counts


@given(segmentations())
def test_filled_polygons_are_the_mask(found):
    drawn = np.full(found.mask.shape, found.ignore_index, found.mask.dtype)
    for class_id, areas in polygons.trace(found, known(found)).items():
        for area in areas:
            rings = [np.array(ring, np.int32) for ring in (area.outline, *area.holes)]
            cv2.fillPoly(drawn, rings, class_id)
    assert np.array_equal(drawn, found.mask)


@given(segmentations())
def test_the_hugging_face_list_is_the_mask(found):
    drawn = np.full(found.mask.shape, found.ignore_index, found.mask.dtype)
    names = [label.name for label in found.labels]
    for entry in huggingface.encode(found, known(found)):
        inside = np.asarray(Image.open(io.BytesIO(base64.b64decode(entry.mask)))) == 255
        drawn[inside] = names.index(entry.label)
    assert np.array_equal(drawn, found.mask)


@given(segmentations() | segmentations(classes=MANY))
def test_the_numpy_file_is_the_mask(found):
    loaded = np.load(io.BytesIO(npy.encode(found.mask)), allow_pickle=False)
    assert loaded.dtype == found.mask.dtype
    assert np.array_equal(loaded, found.mask)


@given(segmentations() | segmentations(classes=MANY))
def test_regions_count_the_pixels_of_each_class(found):
    listed = known(found)
    assert sum(region.pixels for region in listed) == np.count_nonzero(found.mask != found.ignore_index)
    for region in listed:
        rows, columns = np.nonzero(found.mask == region.class_id)
        assert region.pixels == len(rows)
        assert region.share == pytest.approx(len(rows) / found.mask.size)
        assert region.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


@given(segmentations(), st.sampled_from(["png", "jpeg"]))
@settings(max_examples=20)
def test_an_overlay_has_the_masks_size(found, encoding):
    original = Image.new("RGB", (50, 40), (10, 200, 30))
    data = overlay.encode(found, original, overlay.Style(palette.colours(found.labels)), encoding)
    assert Image.open(io.BytesIO(data)).size == found.mask.shape[::-1]


def test_pixels_without_a_class_are_not_painted():
    original = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8))
    nothing = Segmentation(np.full((30, 40), 255, np.uint8), (Label("a"),))
    data = overlay.encode(nothing, original, overlay.Style(palette.colours(nothing.labels)))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), np.asarray(original))


def test_the_background_is_not_darkened():
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    mask = np.zeros((30, 40), np.uint8)
    mask[:10, :10] = 1
    labels = (Label("Background", "#000000"), Label("cat", "#ff0000"))
    style = overlay.Style(palette.colours(labels), background(labels))
    data = overlay.encode(Segmentation(mask, labels), Image.fromarray(pixels), style)
    painted = np.asarray(Image.open(io.BytesIO(data)))
    assert np.array_equal(painted[12:], pixels[12:])
    assert np.array_equal(painted[:12, 12:], pixels[:12, 12:])
    assert not np.array_equal(painted[:8, :8], pixels[:8, :8])


def test_no_class_is_the_background_unless_it_is_named_so():
    assert background((Label("sky"), Label("person"))) is None


def test_an_overlay_without_opacity_is_the_image():
    original = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8))
    found = Segmentation(np.random.default_rng(1).integers(0, 2, (30, 40)).astype(np.uint8), (Label("a"), Label("b")))
    data = overlay.encode(found, original, overlay.Style(palette.colours(found.labels), opacity=0))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), np.asarray(original))


def test_a_palette_cannot_have_many_classes():
    found = Segmentation(np.zeros((2, 2), np.uint16), tuple(Label(str(i)) for i in range(MANY)))
    with pytest.raises(ValueError, match="255 classes"):
        png.palette(found, palette.colours(found.labels))


def test_an_index_mask_of_two_megapixels_is_written_in_thirty_milliseconds():
    smooth = np.random.default_rng(0).standard_normal((12, 16, 20)).astype(np.float32)
    mask = cv2.resize(smooth, (1632, 1224), interpolation=cv2.INTER_CUBIC).argmax(-1).astype(np.uint8)
    found = Segmentation(mask, tuple(Label(str(i)) for i in range(20)))

    def seconds() -> float:
        start = time.process_time()  # what a busy neighbour takes is not counted
        png.index(found)
        return time.process_time() - start

    assert min(seconds() for _ in range(7)) < 0.030
