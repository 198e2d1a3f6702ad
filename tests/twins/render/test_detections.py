"""Every format of detections decodes to the same objects with independent tools."""

import base64
import io
import json

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

from twins.card import Label
from twins.render import boxes, coco, huggingface, instances, palette, polygons, rle
from twins.tasks.detection import Detection, DetectionResult, InstanceMask

LABELS = (Label("cat", category=17), Label("dog", category=18), Label("bird"))


@st.composite
def instance_masks(draw) -> tuple[InstanceMask, tuple[int, int]]:
    """Return the mask of a part of an image, and the size of the image."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    rows, columns = draw(st.integers(0, height - top)), draw(st.integers(0, width - left))
    share = draw(st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]))
    pixels = np.random.default_rng(draw(st.integers(0, 10**6))).random((rows, columns)) < share
    return InstanceMask(pixels, left, top), (height, width)


def whole(mask: InstanceMask, size: tuple[int, int]) -> np.ndarray:
    """Return a mask at the size of the image."""
    found = np.zeros(size, np.uint8)
    rows, columns = mask.pixels.shape
    found[mask.top : mask.top + rows, mask.left : mask.left + columns] = mask.pixels
    return found


@settings(max_examples=200, deadline=None)
@given(instance_masks())
def test_run_lengths_equal_those_of_coco(given_mask):
    mask, size = given_mask
    found = rle.encode_instance(mask, size)
    expected = coco_mask.encode(np.asfortranarray(whole(mask, size)))
    assert (list(found.size), found.counts) == (list(expected["size"]), expected["counts"].decode())


@given(instance_masks())
def test_filled_polygons_are_the_mask(given_mask):
    mask, size = given_mask
    drawn = np.zeros(size, np.uint8)
    for area in polygons.trace_instance(mask):
        cv2.fillPoly(drawn, [np.array(ring, np.int32) for ring in (area.outline, *area.holes)], 1)
    assert np.array_equal(drawn, whole(mask, size))


@pytest.fixture
def result() -> DetectionResult:
    disc = np.hypot(*np.mgrid[-1:1:28j, -1:1:28j]).astype(np.float32)
    found = (
        Detection(0, "cat", 0.9, (10.5, 5.25, 70.0, 55.0), 1.4 - disc),
        Detection(2, "bird", 0.4, (0.0, 0.0, 20.0, 20.0), 1.4 - disc),
        Detection(1, "dog", 0.1, (50.0, 30.0, 80.0, 60.0), 1.4 - disc),
    )
    return DetectionResult(found, (60, 80), LABELS)


@pytest.mark.parametrize("form", ["rle", "polygons", "png"])
def test_each_form_in_json_is_the_mask(result, form):
    document = msgspec.to_builtins(instances.describe(result, "tiny", form))
    assert document["size"] == {"height": 60, "width": 80}
    for body, each in zip(document["detections"], result.detections, strict=True):
        expected = whole(each.mask(result.size), result.size)
        drawn = np.zeros(result.size, np.uint8)
        match form:
            case "rle":
                drawn = coco_mask.decode(body["rle"])
            case "polygons":
                for area in body["polygons"]:
                    rings = [np.array(ring, np.int32) for ring in (area["outline"], *area["holes"])]
                    cv2.fillPoly(drawn, rings, 1)
            case "png":
                part = np.asarray(Image.open(io.BytesIO(base64.b64decode(body["png"]["png"]))))
                left, top = body["png"]["left"], body["png"]["top"]
                drawn[top : top + part.shape[0], left : left + part.shape[1]] = part == 255
        assert expected.any()
        assert np.array_equal(drawn, expected)
        assert {"rle", "polygons", "png"} & body.keys() == {form}


def test_the_png_of_a_box_without_an_area_can_be_opened():
    found = (Detection(0, "cat", 0.9, (80.0, 10.0, 80.0, 20.0), np.ones((28, 28), np.float32)),)
    (body,) = instances.describe(DetectionResult(found, (60, 80), LABELS), "tiny", "png").detections
    part = Image.open(io.BytesIO(base64.b64decode(body.png.png)))
    assert (part.size, part.getextrema()) == ((1, 10), (0, 0))


def test_json_without_masks_has_classes_scores_and_boxes(result):
    (first, *_) = json.loads(msgspec.json.encode(instances.describe(result, "tiny", "none")))["detections"]
    assert first == {"class_id": 0, "label": "cat", "score": 0.9, "box": [10.5, 5.25, 70, 55]}


def test_the_list_of_coco_has_the_numbers_of_the_data_set(result):
    found = [msgspec.to_builtins(each) for each in coco.results(result, 7)]
    assert [(each["image_id"], each["category_id"]) for each in found] == [(7, 17), (7, 2), (7, 18)]
    assert found[0]["bbox"] == (10.5, 5.25, 59.5, 49.75)
    area = coco_mask.area(
        {"size": list(found[0]["segmentation"]["size"]), "counts": found[0]["segmentation"]["counts"]}
    )
    assert area == result.detections[0].mask(result.size).count


def test_the_list_of_hugging_face_has_whole_pixels(result):
    (first, *_) = msgspec.to_builtins(huggingface.objects(result))
    assert first == {"label": "cat", "score": 0.9, "box": {"xmin": 10, "ymin": 5, "xmax": 70, "ymax": 55}}


def test_the_array_has_a_row_for_each_detection(result):
    assert result.array.shape == (3, 6)
    assert result.array[0].tolist() == pytest.approx([10.5, 5.25, 70, 55, 0.9, 0])
    assert DetectionResult((), (60, 80), LABELS).array.shape == (0, 6)


def drawn(result: DetectionResult, image: Image.Image, opacity: float) -> np.ndarray:
    colours = palette.colours(result.labels)
    data = boxes.encode(result, image, colours, opacity=opacity, encoding="png")
    return np.asarray(Image.open(io.BytesIO(data)))


def test_an_overlay_shows_the_boxes_above_a_least_score(result):
    grey = Image.new("RGB", (80, 60), (120, 120, 120))
    pixels = drawn(result, grey, 0.5)
    cat, dog = palette.colours(LABELS)[:2]
    assert pixels.shape == (60, 80, 3)
    assert (pixels == cat).all(axis=-1).any()
    assert not (pixels == dog).all(axis=-1).any()


def test_an_overlay_of_nothing_is_the_image():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8))
    assert np.array_equal(drawn(DetectionResult((), (60, 80), LABELS), image, 0.5), np.asarray(image))


@pytest.mark.parametrize("box", [(-5.0, -5.0, 5.0, 5.0), (79.0, 59.0, 80.0, 60.0), (0.0, 0.0, 0.2, 60.0)])
def test_a_box_at_the_edge_can_be_drawn(box):
    found = DetectionResult((Detection(0, "cat", 0.9, box),), (60, 80), LABELS)
    assert drawn(found, Image.new("RGB", (80, 60)), 0.5).shape == (60, 80, 3)
