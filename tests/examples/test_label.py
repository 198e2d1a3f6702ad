"""Images that are labelled by two teachers. Small networks that always answer the same stand for the teachers."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from pycocotools import mask as coco

from examples.train import label
from examples.train.label import DETECTOR_SIDE, STRIDES, Found
from twins.zoo import labels

NAMES = ["person", "cat", "dog"]
CAT, DOG = 15, 16  # of COCO
VOC_CAT, VOC_DOG = 8, 12
SIZE = (208, 104)  # half as large as the input of the detector
BOX = (40.0, 20.0, 120.0, 80.0)


def detector(tmp_path, *objects: tuple[int, float, tuple[float, float, float, float]]) -> label.Detector:
    """A detector that finds objects of these classes, scores and boxes, in the pixels of its input, everywhere."""
    sides = [DETECTOR_SIDE // stride for stride in STRIDES]
    output = np.zeros((1, sum(side**2 for side in sides), 85), np.float32)
    for anchor, (number, score, (left, top, right, bottom)) in enumerate(objects):
        stride = STRIDES[0]
        centre = np.array([(left + right) / 2, (top + bottom) / 2]) / stride - (anchor, 0)
        output[0, anchor, :4] = [*centre, *np.log(np.array([right - left, bottom - top]) / stride)]
        output[0, anchor, 4], output[0, anchor, 5 + number] = 1, score
    graph = helper.make_graph(
        [helper.make_node("Identity", ["answer"], ["output"])],
        "yolox",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, DETECTOR_SIDE, DETECTOR_SIDE])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, output.shape)],
        [numpy_helper.from_array(output, "answer")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.save(model, tmp_path / "yolox.onnx")
    return label.Detector(tmp_path / "yolox.onnx")


def voc(*filled: tuple[int, tuple[float, float, float, float]]) -> np.ndarray:
    """The classes of Pascal VOC of an image in which boxes are filled."""
    found = np.zeros(SIZE[::-1], np.uint8)
    for number, (left, top, right, bottom) in filled:
        found[int(top) : int(bottom), int(left) : int(right)] = number
    return found


@pytest.fixture
def image(tmp_path):
    (tmp_path / "cat").mkdir()
    path = tmp_path / "cat" / "1.png"
    Image.new("RGB", SIZE, "grey").save(path)
    return path


def doubled(box):
    return tuple(2 * edge for edge in box)


def test_the_boxes_of_the_detector_are_in_pixels_of_the_image(tmp_path):
    (found,) = detector(tmp_path, (CAT, 0.9, doubled(BOX)))(Image.new("RGB", SIZE), "cat")
    assert (found.name, found.sure) == ("cat", True)
    assert found.box == pytest.approx(BOX, abs=1e-3)


@pytest.mark.parametrize(("number", "score", "sure"), [(CAT, 0.4, True), (CAT, 0.2, False), (DOG, 0.4, False)])
def test_the_class_that_an_image_is_known_to_show_needs_a_lower_score(tmp_path, number, score, sure):
    (found,) = detector(tmp_path, (number, score, doubled(BOX)))(Image.new("RGB", SIZE), "cat")
    assert found.sure == sure


def test_an_object_gets_the_mask_that_the_segmenter_finds_in_its_box(tmp_path, image):
    filled = (44.0, 22.0, 118.0, 78.0)
    teachers = (detector(tmp_path, (CAT, 0.9, doubled(BOX))), lambda _: voc((VOC_DOG, filled), (VOC_CAT, (0, 0, 9, 9))))
    assert label.write([image], tmp_path / "out", NAMES, teachers, shows="cat") == 1
    document = json.loads((tmp_path / "out" / "instances.json").read_text())
    (entry,) = document["annotations"]
    expected = voc((1, filled))
    assert (coco.decode(entry["segmentation"]) == expected).all()
    assert (entry["category_id"], entry["ignore"], entry["image_id"]) == (2, 0, document["images"][0]["id"])
    mask = np.asarray(Image.open(tmp_path / "out" / "masks" / "cat_1.png"))
    assert (mask[expected == 1] == 2).all()
    assert (mask[:9, :9] == 255).all(), "a region that only the segmenter sees is not background"
    assert set(np.unique(mask)) == {0, 2, 255}


def test_an_image_without_the_object_is_left_out(tmp_path, image):
    teachers = (detector(tmp_path, (DOG, 0.9, doubled(BOX))), lambda _: voc())
    assert label.write([image], tmp_path / "out", NAMES, teachers, shows="cat") == 0


@pytest.mark.parametrize(
    "filled",
    [(44.0, 22.0, 60.0, 78.0), (60.0, 40.0, 118.0, 78.0), (44.0, 22.0, 100.0, 78.0)],
    ids=["too small", "far from two sides", "far from one side"],
)
def test_a_mask_that_does_not_fit_its_box_is_refused(filled):
    (mask, (entry,)) = label.annotate([Found("cat", BOX, sure=True)], NAMES, voc((VOC_CAT, filled)))
    assert "segmentation" not in entry
    assert entry["ignore"] == 0
    assert (mask[20:80, 40:120] == 255).all()


def test_an_unsure_object_is_ignored():
    (mask, (entry,)) = label.annotate([Found("cat", BOX, sure=False)], NAMES, voc((VOC_CAT, BOX)))
    assert entry["ignore"] == 1
    assert (mask[20:80, 40:120] == 255).all()


def test_an_object_whose_class_the_segmenter_does_not_know_has_a_box_only():
    (mask, (entry,)) = label.annotate([Found("kite", BOX, sure=True)], [*NAMES, "kite"], voc((VOC_CAT, BOX)))
    assert "segmentation" not in entry
    assert (mask[20:80, 40:120] == 255).all()


def test_another_class_on_the_known_object_is_the_same_object():
    other, apart = Found("dog", (42.0, 22.0, 118.0, 80.0), sure=True), Found("dog", (0.0, 0.0, 30.0, 30.0), sure=True)
    cat = Found("cat", BOX, sure=True)
    assert label.without_doubles([other, cat, apart], "cat") == [cat, apart]


def test_every_class_of_a_group_is_one_that_the_detector_knows():
    known = {each.name for each in labels.shipped("coco80")}
    assert {name for group in label.GROUPS for name in group.values()} <= known
