"""Segmentation: an image to a sample, an output to a result, and the runner between them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.golden import seeded
from twins.card import MIN_SIDE, Card, Label, Normalisation
from twins.errors import LabelsError
from twins.images.input_image import InputImage
from twins.network.backbone import Backbone
from twins.network.heads.fpn import FpnHead, Pyramid
from twins.network.heads.segment import Segmenter
from twins.network.variants import SVT_PATTERN, Family, Variant
from twins.preprocessing import resize_keep_ratio
from twins.render import palette
from twins.runtime.plan import Plan
from twins.runtime.torch import TorchModel
from twins.tasks import segment
from twins.tasks.sample import Output
from twins.tasks.segment import SEGMENT, SegmentOptions
from twins.zoo import labels
from twins.zoo.loading import Loaded

TINY = Variant((32, 64, 96, 128), (2, 1, 1, 1), (1, 2, 3, 4), (2, 2, 2, 2), pattern=SVT_PATTERN)
LABELS = (Label("background"), Label("person"), Label("cat"), Label("Cat"))
CARD = Card(
    name="tiny",
    task="segment",
    variant="custom",
    labels=LABELS,
    geometry=replace(resize_keep_ratio(512), short_side=64, long_side=256),
    normalisation=Normalisation(),
    exif_orientation=True,
    source="",
    licence="",
)


@pytest.fixture(scope="module")
def runner():
    torch.manual_seed(0)
    backbone = Backbone(TINY, Family(edge="masked", rounding="ceil", eps=1e-5, stage_norms=True))
    network = Segmenter(backbone, Pyramid(TINY.dims, 32), FpnHead(32, 16, len(LABELS)))
    return TorchModel(Loaded(network.eval(), CARD), Plan())


def image(height: int, width: int) -> Image.Image:
    return Image.fromarray(seeded.image(f"{height}x{width}", height, width))


@pytest.mark.parametrize(
    ("size", "resized"),
    [
        ((400, 300), (683, 512)),
        ((300, 400), (512, 683)),
        ((250, 96), (1333, 512)),
        ((1000, 100), (2048, 205)),
        ((2048, 512), (2048, 512)),
        ((4000, 3000), (683, 512)),
        ((1, 1), (512, 512)),
        ((4000, 20), (2048, MIN_SIDE)),
        ((1, 16000), (MIN_SIDE, 2048)),
    ],
)
def test_an_image_is_resized_to_the_largest_size_within_both_bounds(size, resized):
    assert segment.resized_size(size, resize_keep_ratio(512)) == resized


def test_the_mask_has_the_size_of_the_image_or_of_the_input():
    original = SEGMENT.preprocess(InputImage.whole(image(100, 150)), CARD, SegmentOptions())
    assert (original.input_size, original.params.output_size) == ((64, 96), (100, 150))
    model = SEGMENT.preprocess(InputImage.whole(image(100, 150)), CARD, SegmentOptions(size="model"))
    assert (model.input_size, model.params.output_size) == ((64, 96), (64, 96))


@pytest.mark.parametrize(("options", "wanted"), [({}, False), ({"threshold": 0.5}, True), ({"confidence": True}, True)])
def test_confidences_are_only_computed_if_they_are_needed(options, wanted):
    assert (
        SEGMENT.preprocess(InputImage.whole(image(64, 64)), CARD, SegmentOptions(**options)).params.confidence is wanted
    )


@pytest.mark.parametrize(
    "options", [{"threshold": -0.1}, {"threshold": 1.1}, {"threshold": float("nan")}, {"size": "x"}]
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        SegmentOptions(**options)


def test_an_unknown_class_is_rejected_before_anything_is_computed():
    with pytest.raises(ValueError, match="no class 'dog'"):
        SEGMENT.preprocess(InputImage.whole(image(64, 64)), CARD, SegmentOptions(classes=("dog",)))


@pytest.mark.parametrize(
    ("classes", "mask"),
    [((), [0, 1, 2, 3]), (("person",), [255, 1, 255, 255]), (("0", "CAT"), [0, 255, 2, 3])],
)
def test_pixels_of_other_classes_than_the_selected_have_no_class(classes, mask):
    output = Output((np.array([[0, 1, 2, 3]], np.uint8),))
    assert SEGMENT.postprocess(output, CARD, SegmentOptions(classes=classes)).mask.tolist() == [mask]


def test_pixels_below_the_threshold_have_no_class():
    output = Output((np.array([[0, 1, 2]], np.uint8), np.array([[127, 128, 255]], np.uint8)))
    found = SEGMENT.postprocess(output, CARD, SegmentOptions(threshold=0.5))
    assert found.mask.tolist() == [[255, 1, 2]]


def test_masks_of_many_classes_have_their_own_ignore_index():
    card = replace(CARD, labels=labels.numbered(300))
    output = Output((np.array([[255, 299]], np.uint16),))
    found = SEGMENT.postprocess(output, card, SegmentOptions(classes=("255",)))
    assert found.mask.tolist() == [[255, found.ignore_index]]


def test_images_of_ten_sizes_in_one_batch_get_the_same_masks_as_alone(runner):
    samples = [
        SEGMENT.preprocess(InputImage.whole(image(100 + 2 * i, 150 + 3 * i)), CARD, SegmentOptions()) for i in range(10)
    ]
    assert {sample.input_size for sample in samples} == {(64, 96)}
    together = runner.run(samples)
    for sample, output in zip(samples, together, strict=True):
        assert output.arrays[0].shape == sample.params.output_size
        assert np.array_equal(output.arrays[0], runner.run([sample])[0].arrays[0])


def test_the_warm_up_runs_a_usual_image_shape(runner, monkeypatch):
    shapes = []
    monkeypatch.setattr(runner, "run", lambda samples: shapes.append((len(samples), samples[0].input_size)))
    runner.warm_up(2)
    assert shapes == [(2, (64, 85))]


def test_ade20k_has_its_names_and_its_colours():
    ade = labels.shipped("ade20k")
    assert (len(ade), ade[0], ade[7].name) == (150, Label("wall", colour="#787878"), "bed")
    assert len({label.colour for label in ade}) == 149
    assert ade[6].colour == ade[48].colour == "#8c8c8c"
    assert palette.colours(ade)[2].tolist() == [6, 230, 230]


def test_a_labels_file_can_have_colours(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("#FF8000\tcat\nn01\t#00ff00\tdog\nplain\nn02\tsynset\n")
    assert labels.read(path) == (
        Label("cat", colour="#ff8000"),
        Label("dog", "n01", "#00ff00"),
        Label("plain"),
        Label("synset", "n02"),
    )


def test_a_malformed_colour_is_rejected(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("#ff80\tcat\n")
    with pytest.raises(LabelsError, match="#rrggbb"):
        labels.read(path)


def test_classes_without_a_colour_get_different_ones():
    assert len({tuple(colour) for colour in palette.colours(labels.numbered(150)).tolist()}) > 140


def test_the_task_and_the_class_count_suggest_the_labels():
    assert labels.choose(150, task="segment")[0].name == "wall"
    assert labels.choose(150, task="classify")[0].name == "class 0"
    assert labels.choose(1000, task="segment")[0].name == "class 0"
