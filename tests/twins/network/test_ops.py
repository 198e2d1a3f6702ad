"""The operations of detectors, against slow references, stored results of torchvision, and one another."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.golden import cases
from twins.network import ops

SEEDS = st.integers(0, 10**6)
SIZE = (600, 800)


def random_boxes(count: int, seed: int, *, side: float = 120) -> Tensor:
    """Return boxes within an image of 800×600 pixels, N 4."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * torch.tensor([700.0, 500.0])
    return torch.cat([corner, corner + 1 + side * torch.rand(count, 2, generator=generator)], dim=1)


# ---------------------------------------------------------------------- suppression


def greedy(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> list[int]:
    """Return the indices that suppression keeps, one box after another."""
    kept: list[int] = []
    for index in sorted(range(len(boxes)), key=lambda i: (-scores[i].item(), i)):
        same = [other for other in kept if groups[other] == groups[index]]
        if not same or ops.overlaps(boxes[same], boxes[[index]]).max() <= threshold:
            kept.append(index)
    return kept


@settings(max_examples=80, deadline=None)
@given(SEEDS, st.integers(0, 80), st.integers(1, 4), st.floats(0, 1), st.booleans())
def test_suppression_equals_a_loop_over_all_boxes(seed, count, groups, threshold, equal_scores):
    boxes = random_boxes(count, seed, side=400)
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(count, generator=generator)
    scores = (scores * 4).round() if equal_scores else scores
    group = torch.randint(groups, (count,), generator=generator)
    kept = ops.nms(boxes, scores, group, threshold=threshold, limit=1000).tolist()
    assert kept == greedy(boxes, scores, group, threshold)


@pytest.mark.parametrize("block", [1, 7, 64])
def test_the_blocks_of_suppression_do_not_change_it(monkeypatch, block):
    boxes, scores = random_boxes(200, 0, side=500), torch.linspace(1, 0, 200)
    group = torch.zeros(200, dtype=torch.long)
    whole = ops.nms(boxes, scores, group, threshold=0.5, limit=1000).tolist()
    monkeypatch.setattr(ops, "NMS_BLOCK", block)
    assert ops.nms(boxes, scores, group, threshold=0.5, limit=1000).tolist() == whole
    assert ops.nms(boxes, scores, group, threshold=0.5, limit=9).tolist() == whole[:9]


def test_a_chain_of_overlaps_is_resolved_from_the_best_box_on():
    left = torch.arange(6.0)[:, None] * 4
    boxes = torch.cat([left, torch.zeros(6, 1), left + 10, torch.full((6, 1), 10.0)], dim=1)
    kept = ops.nms(boxes, torch.linspace(1, 0, 6), torch.zeros(6, dtype=torch.long), threshold=0.3, limit=10)
    assert kept.tolist() == [0, 2, 4]  # each overlaps the next by 6 of 14


# ---------------------------------------------------------------------- features of regions


def bilinear(features: np.ndarray, y: float, x: float) -> np.ndarray:
    """Return one sample of a map, C. features: C H W."""
    height, width = features.shape[1:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return np.zeros(len(features))
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    down, across = y - top, x - left
    upper = features[:, top, left] * (1 - across) + features[:, top, right] * across
    lower = features[:, bottom, left] * (1 - across) + features[:, bottom, right] * across
    return upper * (1 - down) + lower * down


def sampled_directly(features: np.ndarray, box: np.ndarray, side: int, scale: float) -> np.ndarray:
    """Return the features of one region, C S S, sample by sample."""
    left, top, right, bottom = box * scale - 0.5
    rows, columns = (max(1, int(np.ceil(length / side))) for length in (bottom - top, right - left))
    found = np.zeros((len(features), side, side))
    for i in range(side):
        for j in range(side):
            samples = [
                bilinear(
                    features,
                    top + (i + (r + 0.5) / rows) * (bottom - top) / side,
                    left + (j + (c + 0.5) / columns) * (right - left) / side,
                )
                for r in range(rows)
                for c in range(columns)
            ]
            found[:, i, j] = np.mean(samples, axis=0)
    return found


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.sampled_from([1, 2, 3, 7]), st.sampled_from([1 / 4, 1 / 8, 1 / 16]), st.floats(1, 500))
def test_the_features_of_a_region_equal_direct_sampling(seed, side, scale, largest):
    generator = torch.Generator().manual_seed(seed)
    height, width = int(SIZE[0] * scale), int(SIZE[1] * scale)
    features = torch.randn(2, height, width, generator=generator)
    boxes = random_boxes(3, seed, side=largest) - torch.tensor([20.0, 20.0, 0.0, 0.0])  # some begin outside
    found = ops.roi_align(features, boxes, side=side, scale=scale)
    for each, box in zip(found, boxes.double(), strict=True):
        expected = sampled_directly(features.double().numpy(), box.numpy(), side, scale)
        assert np.abs(each.numpy() - expected).max() < 1e-3


def test_the_parts_of_many_regions_do_not_change_their_features(monkeypatch):
    features, boxes = torch.randn(4, 60, 80), random_boxes(40, 0, side=300)
    whole = ops.roi_align(features, boxes, side=7, scale=0.1)
    monkeypatch.setattr(ops, "MOST_SAMPLES", 500)
    assert torch.equal(ops.roi_align(features, boxes, side=7, scale=0.1), whole)


def test_no_region_has_no_features():
    assert ops.roi_align(torch.randn(4, 60, 80), torch.zeros(0, 4), side=7, scale=0.1).shape == (0, 4, 7, 7)


@pytest.mark.parametrize(
    ("side", "level"), [(1, 0), (111.9, 0), (112, 1), (223.9, 1), (224, 2), (447, 2), (448, 3), (5000, 3)]
)
def test_the_level_of_a_region_doubles_with_its_side(side, level):
    assert ops.roi_levels(torch.tensor([[10.0, 10, 10 + side, 10 + side]]), finest=56, count=4).tolist() == [level]


# ---------------------------------------------------------------------- stored results


STORED = cases.FOLDER / "torchvision-ops.npz"


@pytest.fixture(scope="module")
def stored() -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in np.load(STORED).items()}


def test_suppression_equals_that_of_torchvision(stored):
    boxes, scores, groups = (stored[f"nms.{name}"] for name in ("boxes", "scores", "groups"))
    for threshold in (0.3, 0.5, 0.7):
        kept = ops.nms(boxes, scores, groups, threshold=threshold, limit=len(boxes))
        assert kept.tolist() == stored[f"nms.kept-{threshold}"].tolist()


def test_the_features_of_regions_equal_those_of_torchvision(stored):
    facts = json.loads(Path(STORED).with_suffix(".json").read_text())
    for name, (side, scale) in facts["roi_align"].items():
        found = ops.roi_align(stored["roi.features"], stored["roi.boxes"], side=side, scale=scale)
        assert (found - stored[f"roi.{name}"]).abs().max() < 1e-4


# ---------------------------------------------------------------------- anchors and boxes


def test_anchors_have_their_sizes_and_are_not_rounded():
    anchors = ops.base_anchors(8, (4, 4 * 2 ** (1 / 3)), (0.5, 1.0, 2.0), "ratio")
    sides = anchors[:, 2:] - anchors[:, :2]
    assert torch.allclose(sides.prod(dim=1), torch.tensor([32.0**2, (32 * 2 ** (1 / 3)) ** 2] * 3), rtol=1e-5)
    assert torch.allclose(sides[:, 1] / sides[:, 0], torch.tensor([0.5, 0.5, 1, 1, 2, 2]))
    assert torch.equal(anchors[:, :2], -anchors[:, 2:])


def test_the_orders_of_anchors_have_the_same_anchors():
    by_ratio, by_size = (ops.base_anchors(8, (4, 5, 6), (0.5, 1, 2), order) for order in ("ratio", "size"))
    assert torch.equal(by_size.view(3, 3, 4), by_ratio.view(3, 3, 4).transpose(0, 1))


def test_positions_have_the_anchors_of_their_row_and_column():
    grid = ops.grid_anchors(torch.tensor([[-1.0, -2, 1, 2], [-3, -3, 3, 3]]), (2, 3), 16)
    assert grid.view(2, 3, 2, 4)[1, 2].tolist() == [[31, 14, 33, 18], [29, 13, 35, 19]]


def test_a_box_is_moved_by_its_sides_scaled_and_clipped():
    anchors = torch.tensor([[10.0, 10, 30, 50]]).expand(3, 4)
    deltas = torch.tensor([[0.5, -0.25, 0, 0], [0, 0, 100, -100], [0, 0, 0, 0.5]])
    found = ops.decode_deltas(anchors, deltas, (60, 100))
    assert found[0].tolist() == [20, 0, 40, 40]
    assert found[1].tolist() == pytest.approx([0, 29.68, 100, 30.32])  # at most 62.5 times as large, or as small
    assert found[2].tolist() == pytest.approx([10, 0, 30, 60])


@pytest.mark.parametrize(("size", "expected"), [((64, 96), (64, 96)), ((65, 97), (96, 128)), ((1, 1), (32, 32))])
def test_images_are_padded_with_zeros_on_the_right_and_below(size, expected):
    x = ops.padded(torch.ones(1, 3, *size))
    assert x.shape[2:] == expected
    assert x.sum() == 3 * size[0] * size[1]
    assert x[0, 0, 0, 0] == 1
