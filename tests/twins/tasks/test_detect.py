"""Detection: an image to a sample, an output to detections, and their masks in the image."""

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F

from tests import detection
from tests.golden import seeded
from twins.card import Card, Label, Normalisation
from twins.images.input_image import InputImage
from twins.preprocessing import resize_keep_ratio
from twins.runtime.plan import Plan
from twins.runtime.torch import TorchModel
from twins.tasks.detect import DETECT, DetectOptions
from twins.tasks.detection import paste
from twins.tasks.resizing import resized_size
from twins.tasks.sample import Output
from twins.zoo import labels
from twins.zoo.loading import load
from twins.zoo.models import ModelReference

CARD = Card(
    name="tiny",
    task="detect",
    variant="custom",
    labels=(Label("cat"), Label("dog"), Label("bird")),
    geometry=resize_keep_ratio(800, 1333),
    normalisation=Normalisation(),
    exif_orientation=True,
    source="",
    licence="",
)


@pytest.fixture(scope="module", params=["retinanet", "maskrcnn"])
def model(request, tmp_path_factory) -> TorchModel:
    path = detection.tiny(tmp_path_factory.mktemp("weights"), request.param)
    return TorchModel(load(ModelReference("tiny", path)), Plan())


def image(height: int, width: int) -> InputImage:
    return InputImage.whole(Image.fromarray(seeded.image(f"{height}x{width}", height, width)))


def detections(model: TorchModel, *images: InputImage, **options) -> list:
    """Return the detections of images that run as one batch."""
    chosen = DetectOptions(**options)
    samples = [DETECT.preprocess(each, model.card, chosen) for each in images]
    return [DETECT.postprocess(output, model.card, chosen).detections for output in model.run(samples)]


def values(found) -> list:
    """Return detections as values that can be compared."""
    return [(each.class_id, each.score, each.box) for each in found]


# ---------------------------------------------------------------------- samples


@pytest.mark.parametrize(
    ("size", "expected"),
    [((640, 480), (1067, 800)), ((480, 640), (800, 1067)), ((1920, 1080), (1333, 750)), ((500, 100), (1333, 267))],
)
def test_an_image_is_resized_to_the_largest_size_within_both_bounds(size, expected):
    assert resized_size(size, CARD.geometry) == expected


def test_a_sample_has_the_size_of_its_image():
    sample = DETECT.preprocess(image(48, 64), CARD, DetectOptions(max_detections=7, masks="none"))
    assert (sample.input_size, sample.params.size, sample.params.limit) == ((800, 1067), (48, 64), 7)
    assert not sample.params.masks


@pytest.mark.parametrize("option", ["threshold", "iou_threshold", "max_detections", "opacity", "image_id"])
@pytest.mark.parametrize("value", [-1, float("nan")])
def test_options_out_of_range_are_refused(option, value):
    with pytest.raises(ValueError, match=option):
        DetectOptions(**{option: value})


def test_an_unknown_class_is_rejected_before_anything_is_computed():
    with pytest.raises(ValueError, match="no class 'horse'"):
        DETECT.preprocess(image(48, 64), CARD, DetectOptions(classes=("horse",)))


# ---------------------------------------------------------------------- detections


def test_detections_are_the_best_ones_and_within_the_image(model):
    (found,) = detections(model, image(60, 80))
    scores = [each.score for each in found]
    assert 0 < len(found) <= 100
    assert scores == sorted(scores, reverse=True)
    assert min(scores) > 0.05
    for left, top, right, bottom in (each.box for each in found):
        assert 0 <= left < right <= 80.001
        assert 0 <= top < bottom <= 60.001


def test_a_higher_threshold_leaves_the_better_ones(model):
    (all_of_them,) = detections(model, image(60, 80), masks="none")
    middle = sorted(each.score for each in all_of_them)[len(all_of_them) // 2]
    (found,) = detections(model, image(60, 80), threshold=middle, masks="none")
    assert values(found) == [each for each in values(all_of_them) if each[1] > middle]


def test_fewer_detections_are_the_first_ones(model):
    (found,) = detections(model, image(60, 80), masks="none")
    (few,) = detections(model, image(60, 80), max_detections=3, masks="none")
    assert values(few) == values(found)[:3]


def test_only_the_selected_classes_are_found(model):
    (found,) = detections(model, image(60, 80), classes=("dog", "2"))
    assert {each.label for each in found} <= {"dog", "bird"}
    assert found


def test_no_overlap_is_above_the_threshold(model):
    (found,) = detections(model, image(60, 80), iou_threshold=0.1, masks="none")
    for class_id in range(3):
        boxes = torch.tensor([each.box for each in found if each.class_id == class_id])
        if len(boxes):
            place = detection.overlaps(boxes, boxes).fill_diagonal_(0)
            assert place.max() <= 0.1 + 1e-5


def test_an_image_of_which_nothing_is_found_has_no_detections(model):
    (found,) = detections(model, image(60, 80), threshold=1)
    assert found == ()


def test_the_neighbours_of_a_batch_do_not_change_the_answer(model):
    images = [image(60, 80), image(120, 160), image(240, 320)]  # of one size once they are resized
    together = detections(model, *images)
    for each, found in zip(images, together, strict=True):
        (alone,) = detections(model, each)
        assert len(alone) == len(found)
        for one, other in zip(alone, found, strict=True):
            assert one.class_id == other.class_id
            assert one.score == pytest.approx(other.score, abs=1e-5)
            assert one.box == pytest.approx(other.box, abs=1e-2)


def test_padding_is_that_of_the_image_and_not_of_the_batch(model):
    samples = [DETECT.preprocess(image(60, width), model.card, DetectOptions()) for width in (80, 84)]
    assert samples[0].layout != samples[1].layout


def test_detectors_run_in_half_precision(tmp_path):
    network = TorchModel(load(ModelReference("tiny", detection.tiny(tmp_path))), Plan(precision="bfloat16"))
    (found,) = detections(network, image(60, 80))
    assert all(np.isfinite([each.score, *each.box]).all() for each in found)


def test_weights_that_overflow_are_an_error_of_the_sample_alone(model):
    broken = DETECT.accept(np.full((3, 96, 128), np.inf, np.float32), model.card, DetectOptions())
    good = DETECT.accept(np.zeros((3, 96, 128), np.float32), model.card, DetectOptions())
    first, second = model.run([broken, good])
    assert "finite" in str(first)
    assert isinstance(second, Output)


# ---------------------------------------------------------------------- masks


def pasted(probabilities: np.ndarray, box: tuple, size: tuple[int, int]) -> np.ndarray:
    """Return a mask at the size of the image, sampled as a whole as mmdetection does it."""
    height, width = size
    y = (torch.arange(height) + 0.5 - box[1]) / (box[3] - box[1]) * 2 - 1
    x = (torch.arange(width) + 0.5 - box[0]) / (box[2] - box[0]) * 2 - 1
    grid = torch.stack(torch.broadcast_tensors(x[None, :], y[:, None]), dim=-1)[None]
    return F.grid_sample(torch.from_numpy(probabilities)[None, None], grid, align_corners=False)[0, 0].numpy()


SIDES = st.floats(0, 60, width=32)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), SIDES, SIDES, st.floats(0.5, 70, width=32), st.floats(0.5, 70, width=32))
def test_a_mask_equals_the_whole_image_sampled(seed, left, top, width, height):
    probabilities = np.random.default_rng(seed).random((28, 28), np.float32)
    size = (50, 61)
    box = (left, top, min(left + width, 61.0), min(top + height, 50.0))
    if box[2] - box[0] < 0.1 or box[3] - box[1] < 0.1:
        return
    mask = paste(probabilities, box, size)
    whole = np.zeros(size, bool)
    rows, columns = mask.pixels.shape
    whole[mask.top : mask.top + rows, mask.left : mask.left + columns] = mask.pixels
    expected = pasted(probabilities, box, size)
    clear = np.abs(expected - 0.5) > 1e-4  # others may round either way
    assert np.array_equal(whole[clear], expected[clear] >= 0.5)


@pytest.mark.parametrize("box", [(3.0, 3.0, 3.0, 9.0), (3.5, 3.5, 3.5, 3.5), (61.0, 0.0, 61.0, 50.0)])
def test_a_box_without_an_area_has_no_pixels(box):
    mask = paste(np.ones((28, 28), np.float32), box, (50, 61))
    assert mask.count == 0
    assert mask.pixels.size > 0  # an empty array is no image


def test_a_hundred_masks_of_fifty_megapixels_are_made_in_the_memory_of_one():
    height, width = 5_800, 8_700
    outputs = (
        np.array([height, width], np.int32),
        np.tile(np.array([[0, 0, width, height]], np.float32), (100, 1)),
        np.full(100, 0.9, np.float32),
        np.zeros(100, np.int32),
        np.random.default_rng(0).random((100, 28, 28), np.float32),
    )
    found = DETECT.postprocess(Output(outputs), CARD, DetectOptions())
    pixels = height * width
    tracemalloc.start()
    for each in found.detections[:2]:
        assert each.mask(found.size).pixels.shape == (height, width)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.5 * pixels  # a byte for each pixel, and nothing of the mask before


def test_masks_are_finished_with_the_memory_of_the_image():
    arrays = (
        np.array([300, 400], np.int32),
        np.zeros((1, 4), np.float32),
        np.zeros(1, np.float32),
        np.zeros(1, np.int32),
    )
    assert DETECT.finish_pixels(Output((*arrays, np.zeros((1, 28, 28), np.float32)))) == 300 * 400
    assert DETECT.finish_pixels(Output(arrays)) == 4
    none = (arrays[0], *(array[:0] for array in arrays[1:]))
    assert DETECT.finish_pixels(Output((*none, np.zeros((0, 28, 28), np.float32)))) == 0


def test_coco_has_its_names_its_numbers_and_its_colours():
    coco = labels.shipped("coco80")
    assert (len(coco), coco[0], coco[79].name) == (80, Label("person", colour="#dc143c", category=1), "toothbrush")
    assert [label.category for label in coco][-1] == 90
    assert labels.choose(80, task="detect") == coco


def test_the_warm_up_runs_a_usual_image_shape(model, monkeypatch):
    shapes = []
    monkeypatch.setattr(model, "run", lambda samples: shapes.append((len(samples), samples[0].input_size)))
    model.warm_up(2)
    assert shapes == [(2, (96, 128))]
