"""Classification: the preprocessing of timm, and the results."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.crafted import image
from twins.card import TOP_K_LIMIT, Card, Geometry, Label, Normalisation
from twins.images.input_image import InputImage
from twins.preprocessing import centre_crop
from twins.runtime.host import HOST_REDUCTIONS
from twins.runtime.reduce.top_k import reduce
from twins.tasks import classify
from twins.tasks.classify import CLASSIFY, ClassifyOptions, ClassifyParams, Prediction
from twins.tasks.sample import Output, Sample

CARD = Card(
    name="flowers",
    task="classify",
    variant="svt_nano",
    labels=(Label("rose"), Label("tulip", "n01"), Label("daisy", "n02"), Label("daisy", "n03")),
    geometry=Geometry(short_side=124, crop=112),
    normalisation=Normalisation(),
    exif_orientation=True,
    source="here",
    licence="none",
)
SIDES = st.integers(1, 5000)


def asking(top_k):
    """Return a sample for so many classes."""
    return Sample(np.zeros((8, 8, 3), np.uint8), ClassifyParams(top_k))


def answer(logits, top_k=5):
    ((ids, scores),) = reduce(torch.tensor([logits]), [asking(top_k)])
    return CLASSIFY.postprocess(Output((ids.numpy(), scores.numpy())), CARD, ClassifyOptions(top_k)).predictions


# answers


def test_the_best_class_comes_first():
    assert [p.class_id for p in answer([0.0, 3.0, 1.0, 2.0])] == [1, 3, 2, 0]


def test_scores_are_a_softmax():
    assert [p.score for p in answer([0.0, 3.0, 1.0, 2.0])] == pytest.approx([0.6439, 0.2369, 0.0871, 0.0321], abs=1e-4)


def test_repeated_names_have_different_synsets():
    assert answer([0.0, 0.0, 9.0, 5.0], top_k=2) == (
        Prediction("daisy", 2, pytest.approx(0.9818, abs=1e-3), "n02"),
        Prediction("daisy", 3, pytest.approx(0.0180, abs=1e-3), "n03"),
    )


@pytest.mark.parametrize("top_k", [1, 2, 4])
def test_the_number_of_classes_is_top_k(top_k):
    assert len(answer([0.0, 3.0, 1.0, 2.0], top_k)) == top_k


def test_a_network_with_fewer_classes_returns_all_of_them():
    assert len(answer([0.0, 3.0, 1.0, 2.0], top_k=1000)) == 4


@pytest.mark.parametrize("top_k", [0, -1, TOP_K_LIMIT + 1])
def test_a_top_k_out_of_bounds_is_rejected_with_the_bounds(top_k):
    with pytest.raises(ValueError, match="from 1 to 1000"):
        ClassifyOptions(top_k)


@pytest.mark.parametrize("top_k", [1, TOP_K_LIMIT])
def test_the_bounds_of_top_k_are_allowed(top_k):
    assert ClassifyOptions(top_k).top_k == top_k


@pytest.mark.parametrize("top_k", [1, 2, 4])
def test_among_equal_scores_the_lower_class_comes_first(top_k):
    assert [p.class_id for p in answer([1.0, 1.0, 1.0, 1.0], top_k)] == list(range(top_k))


def test_ties_in_a_large_network_keep_their_order():
    for ids, _ in reduce(torch.zeros(3, 1000), [asking(1000)] * 3):
        assert torch.equal(ids, torch.arange(1000).int())


@pytest.mark.parametrize(
    "reduction", [reduce, lambda logits, samples: HOST_REDUCTIONS["classify"].reduce(logits.numpy(), samples)]
)
def test_no_more_classes_leave_the_device_than_one_of_the_samples_asks_for(reduction):
    for ids, scores in reduction(torch.randn(2, 5000), [asking(7), asking(3)]):
        assert ids.shape == scores.shape == (7,)


def test_a_sample_asks_for_the_classes_of_its_options():
    options, values = ClassifyOptions(3), np.zeros((3, 224, 224), np.float32)
    samples = (
        CLASSIFY.preprocess(InputImage.whole(Image.new("RGB", (300, 300))), CARD, options),
        CLASSIFY.accept(values, CARD, options),
    )
    assert [sample.params for sample in samples] == [ClassifyParams(3)] * 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_scores_of_half_precision_logits_still_sum_to_one(dtype):
    for _, scores in reduce(torch.randn(4, 1000).to(dtype), [asking(1000)] * 4):
        assert scores.sum() == pytest.approx(1, abs=1e-5)


# preprocessing


@pytest.mark.parametrize(
    ("size", "resized"),
    [
        ((300, 400), (248, 330)),  # torchvision's rule, which timm follows: the long side is rounded down
        ((400, 300), (330, 248)),
        ((248, 248), (248, 248)),
        ((100, 120), (248, 297)),
        ((640, 427), (371, 248)),
        ((1, 1), (248, 248)),
        ((1, 3), (248, 744)),
    ],
)
def test_the_short_side_is_resized_as_timm_does(size, resized):
    assert classify.resized_size(size, Geometry(short_side=248, crop=224)) == resized


@given(SIDES, SIDES)
def test_the_short_side_is_that_of_the_geometry_and_the_crop_fits(width, height):
    geometry = Geometry(short_side=248, crop=224)
    assert min(classify.resized_size((width, height), geometry)) == geometry.short_side


@given(st.integers(16, 1000), st.floats(0.5, 1))
def test_the_crop_fraction_determines_the_short_side_rounded_down(size, share):
    assert centre_crop(size, share).short_side == int(size / share)


@pytest.mark.parametrize(
    ("size", "corner"),
    [
        ((248, 248), (12, 12)),
        ((248, 330), (12, 53)),
        ((249, 249), (12, 12)),  # 12.5 goes to the even 12
        ((251, 251), (14, 14)),  # 13.5 goes to the even 14
        ((224, 224), (0, 0)),
    ],
)
def test_the_crop_is_centred_with_halves_to_even(size, corner):
    left, top = corner
    assert classify.centre_box(size, 224) == (left, top, left + 224, top + 224)


@pytest.mark.parametrize("size", [(64, 48), (48, 64), (1, 1), (3000, 20), (112, 112)], ids=str)
def test_every_image_gets_the_input_size_of_the_network(size):
    pixels = CLASSIFY.preprocess(InputImage.whole(image(size=size)), CARD, ClassifyOptions()).pixels
    assert (pixels.shape, pixels.dtype) == ((112, 112, 3), np.uint8)


@pytest.mark.parametrize("size", [(650, 10), (10, 650), (1201, 7)], ids=str)
def test_a_very_long_image_is_resized_like_the_whole_image(size):
    whole = image(size=size).resize(classify.resized_size(size, CARD.geometry), Image.Resampling.BICUBIC)
    expected = np.asarray(whole.crop(classify.centre_box(whole.size, 112)), int)
    assert (
        np.abs(
            CLASSIFY.preprocess(InputImage.whole(image(size=size)), CARD, ClassifyOptions()).pixels - expected
        ).mean()
        < 0.1
    )


@pytest.mark.parametrize("size", [(16_384, 1), (1, 16_384), (16_384, 250), (6_000, 100)], ids=str)
def test_the_size_of_a_resized_image_is_limited(monkeypatch, size):
    made, original = [], Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", lambda self, to, *rest: (made.append(to), original(self, to, *rest))[1])
    CLASSIFY.preprocess(InputImage.whole(image(size=size)), CARD, ClassifyOptions())
    assert made[0][0] * made[0][1] <= 64 * 124**2


def test_without_a_crop_the_whole_image_is_kept():
    card = dataclasses.replace(CARD, geometry=Geometry(short_side=100))
    assert CLASSIFY.preprocess(InputImage.whole(image(size=(200, 300))), card, ClassifyOptions()).pixels.shape == (
        150,
        100,
        3,
    )


def test_rows_come_before_columns_and_red_before_blue():
    square = image(size=(112, 112))
    card = dataclasses.replace(CARD, geometry=Geometry(short_side=112, crop=112))
    assert np.array_equal(
        CLASSIFY.preprocess(InputImage.whole(square), card, ClassifyOptions()).pixels, np.asarray(square)
    )


@pytest.mark.parametrize("size", [(300, 200), (40_000, 300)], ids=["ordinary", "elongated"])
def test_a_models_interpolation_is_used(size):
    bilinear = dataclasses.replace(CARD, geometry=dataclasses.replace(CARD.geometry, interpolation="bilinear"))
    original = image(size=size)
    found = CLASSIFY.preprocess(InputImage.whole(original), bilinear, ClassifyOptions()).pixels
    resized = original.resize(classify.resized_size(size, CARD.geometry), Image.Resampling.BILINEAR)
    expected = np.asarray(resized.crop(classify.centre_box(resized.size, 112)), int)
    assert abs(found - expected).mean() < 1
    assert not np.array_equal(found, CLASSIFY.preprocess(InputImage.whole(original), CARD, ClassifyOptions()).pixels)
