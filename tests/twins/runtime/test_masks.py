"""From logits to masks: strips give the same mask as whole tensors, in limited memory, whatever the batch."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from twins.runtime.reduce import masks
from twins.tasks.sample import Sample
from twins.tasks.segment import SegmentParams

SIDES = st.integers(1, 70)


def at_once(logits: torch.Tensor, inner: tuple[int, int], output: tuple[int, int]) -> torch.Tensor:
    """Resize twice as mmsegmentation does, as whole tensors."""
    for size in (inner, output):
        logits = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
    return logits


def smooth(classes: int, height: int, width: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, classes, height // 4 + 1, width // 4 + 1, generator=generator)
    return F.interpolate(coarse, size=(height, width), mode="bilinear") + torch.randn(
        classes, 1, 1, generator=generator
    )


def sample(inner: tuple[int, int], output: tuple[int, int] | None, *, confidence: bool = False) -> Sample:
    return Sample(np.zeros((*inner, 3), np.uint8), SegmentParams(output, confidence))


@pytest.fixture
def thin_strips(monkeypatch):
    monkeypatch.setattr(masks, "STRIP_BYTES", 20_000)


@settings(max_examples=60, deadline=None)
@given(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES), st.integers(1, 20), st.integers(0, 10**6), st.booleans())
def test_strips_give_the_same_mask_as_whole_tensors(inner, output, classes, seed, confidence):
    logits = smooth(classes, -(-inner[0] // 4), -(-inner[1] // 4), seed)
    whole = at_once(logits, inner, output)[0]
    whole_size = masks.STRIP_BYTES
    try:
        masks.STRIP_BYTES = 3_000
        mask, *confidences = masks.reduce(logits, [sample(inner, output, confidence=confidence)])[0]
    finally:
        masks.STRIP_BYTES = whole_size
    chosen = whole.gather(0, mask[None].long())[0]
    assert (whole.max(dim=0).values - chosen).max() <= 1e-5  # equal but for ties within rounding
    if confidence:
        scores = whole.softmax(dim=0).gather(0, mask[None].long())[0]
        assert (confidences[0].float() / 255 - scores).abs().max() <= 0.5 / 255 + 1e-5


@settings(max_examples=60, deadline=None)
@given(st.tuples(SIDES, SIDES), st.integers(1, 30), st.integers(0, 10**6))
def test_a_class_that_is_left_out_is_never_the_best(size, classes, seed):
    rows = smooth(classes, *size, seed)[0]
    winners = at_once(rows[None], (size[0], 4 * size[1]), (size[0], 7 * size[1]))[0].argmax(dim=0)
    assert set(winners.unique().tolist()) <= set(masks.candidate_classes(rows).tolist())


def test_most_classes_are_left_out_if_they_cannot_be_the_best():
    rows = smooth(150, 8, 40, seed=0)[0]
    rows[3] += 100
    assert masks.candidate_classes(rows).tolist() == [3]


def test_logits_that_are_nan_still_give_a_mask():
    mask = masks.reduce(torch.full((1, 5, 8, 8), torch.nan), [sample((32, 32), (50, 60))])[0][0]
    assert mask.shape == (50, 60)


def test_ten_sizes_in_a_batch_give_the_same_masks_as_alone(thin_strips):
    sizes = [(31 + 13 * i, 97 - 7 * i) for i in range(10)]
    logits = torch.cat([smooth(12, 16, 20, seed) for seed in range(10)])
    samples = [sample((64, 80), size, confidence=True) for size in sizes]
    together = masks.reduce(logits, samples)
    for i, (mask, confidences) in enumerate(together):
        alone = masks.reduce(logits[i : i + 1], samples[i : i + 1])[0]
        assert mask.shape == sizes[i]
        assert torch.equal(mask, alone[0])
        assert torch.equal(confidences, alone[1])


def test_a_mask_without_a_size_has_the_input_size():
    assert masks.reduce(smooth(3, 8, 9, 0), [sample((30, 34), None)])[0][0].shape == (30, 34)


@pytest.mark.parametrize(("classes", "dtype"), [(255, np.uint8), (256, np.uint16), (300, np.uint16)])
def test_a_pixel_has_two_bytes_if_one_is_not_enough_for_all_classes_and_the_ignore_index(classes, dtype):
    logits = torch.zeros(1, classes, 2, 2)
    logits[:, -1] = 1
    mask = masks.reduce(logits, [sample((8, 8), (8, 8))])[0][0].numpy()
    assert mask.dtype == dtype
    assert (mask == classes - 1).all()


PEAK = """
import resource, sys
import numpy as np, torch
from twins.runtime.reduce import masks
from twins.tasks.sample import Sample
from twins.tasks.segment import SegmentParams
logits = torch.randn(1, 150, 128, 171, generator=torch.Generator().manual_seed(0))
def run(size, confidence):
    masks.reduce(logits, [Sample(np.zeros((512, 683, 3), np.uint8), SegmentParams(size, confidence))])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
small = run((8, 8), False)
print(run(tuple(map(int, sys.argv[1:3])), sys.argv[3] == "True") - small)
"""


@pytest.mark.parametrize("confidence", [False, True])
def test_a_mask_of_twelve_megapixels_takes_no_more_memory_than_stated(confidence):
    height, width = 3000, 4000
    command = [sys.executable, "-c", PEAK, str(height), str(width), str(confidence)]
    grown = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert grown <= 4 * masks.STRIP_BYTES + 2 * height * width
    assert grown < 150 * 512 * 683 * 4  # not even the logits at the input's size


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("confidence", [False, True])
def test_of_classes_with_equal_logits_a_pixel_gets_the_lowest_id(dtype, confidence):
    logits = smooth(12, 16, 16, 0).to(dtype)
    logits[0, [4, 7, 9]] = logits[0].amax(dim=0) + 1
    mask = masks.reduce(logits, [sample((64, 64), (100, 90), confidence=confidence)])[0][0]
    assert mask.unique().tolist() == [4]
