"""The reductions in NumPy give the results of those in PyTorch."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from twins.runtime.host import HOST_REDUCTIONS, masks
from twins.runtime.reduce import REDUCTIONS
from twins.tasks.classify import ClassifyParams
from twins.tasks.sample import Sample
from twins.tasks.segment import SegmentParams


def smooth(classes, height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, classes, height // 4 + 1, width // 4 + 1, generator=generator)
    return F.interpolate(coarse, size=(height, width), mode="bilinear") + torch.randn(
        classes, 1, 1, generator=generator
    )


def sample(inner, output, *, confidence=False):
    return Sample(np.zeros((*inner, 3), np.uint8), SegmentParams(output, confidence))


def test_every_task_has_the_same_method_in_both_tables():
    known = {name: each.method for name, each in REDUCTIONS.items() if each.one_tensor}
    assert {name: each.method for name, each in HOST_REDUCTIONS.items()} == known


@pytest.fixture(params=[2_000, masks.STRIP_VALUES])
def strip(request, monkeypatch):
    monkeypatch.setattr(masks, "STRIP_VALUES", request.param)


@pytest.mark.usefixtures("strip")
@pytest.mark.parametrize("confidence", [False, True])
@pytest.mark.parametrize("classes", [1, 3, 150, 300])
@pytest.mark.parametrize(
    ("inner", "output"), [((64, 80), (64, 80)), ((64, 83), (120, 97)), ((65, 33), (31, 300)), ((32, 32), (1, 1))]
)
def test_a_mask_is_that_of_pytorch(confidence, classes, inner, output):
    logits = smooth(classes, -(-inner[0] // 4), -(-inner[1] // 4))
    given = [sample(inner, output, confidence=confidence)]
    expected = [each.numpy() for each in REDUCTIONS["segment"].reduce(logits, given)[0]]
    found = HOST_REDUCTIONS["segment"].reduce(logits.numpy(), given)[0]
    assert [each.dtype for each in found] == [each.dtype for each in expected]
    assert (found[0] != expected[0]).sum() <= 1e-3 * found[0].size  # ties within rounding
    for mine, theirs in zip(found[1:], expected[1:], strict=True):
        assert np.abs(mine.astype(int) - theirs).max() <= 1


def test_of_classes_with_equal_logits_a_pixel_gets_the_lowest_id():
    logits = smooth(12, 16, 16).numpy()
    logits[0, [4, 7, 9]] = logits[0].max(axis=0) + 1
    mask = masks.reduce(logits, [sample((64, 64), (100, 90))])[0][0]
    assert np.unique(mask).tolist() == [4]


def test_a_class_that_cannot_win_is_left_out():
    reached = smooth(150, 8, 40)[0].numpy()
    reached[3] += 100
    assert masks.candidate_classes(reached).tolist() == [3]


@pytest.mark.parametrize("classes", [3, 1000, 1500])
def test_the_best_classes_are_those_of_pytorch(classes):
    logits = torch.randn(4, classes, generator=torch.Generator().manual_seed(0))
    logits[0, :3] = 9.0  # equal scores
    given = [Sample(np.zeros((8, 8, 3), np.uint8), ClassifyParams())] * 4
    for mine, theirs in zip(
        HOST_REDUCTIONS["classify"].reduce(logits.numpy(), given),
        REDUCTIONS["classify"].reduce(logits, given),
        strict=True,
    ):
        assert mine[0].dtype == np.int32
        assert mine[1].dtype == np.float32
        assert np.array_equal(mine[0], theirs[0].numpy())
        assert np.allclose(mine[1], theirs[1].numpy(), atol=1e-7)
