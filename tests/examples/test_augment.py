"""Training data: mixed precision, augmentation and crops."""

import pytest
import torch
from torch.nn import functional as F

from examples.train import augment, crops
from examples.train.classify import DistilledClassifier
from examples.train.precision import mixed
from twins.network.variants import VARIANTS

BATCH, CLASSES, SIDE = 16, 3, 56


@pytest.fixture
def x():
    return torch.randn(BATCH, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def without_objects(x: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the images and their targets, `count` of them without objects."""
    targets = F.one_hot(torch.arange(BATCH) % CLASSES, CLASSES).float()
    found, (targets,) = augment.remove_objects(x.clone(), (targets,), torch.Generator().manual_seed(1), count)
    return found, targets


def test_mixed_precision_changes_an_output_little_and_returns_it_in_float32(x):
    torch.manual_seed(0)
    network = DistilledClassifier(VARIANTS["svt_nano"], CLASSES).eval()
    for rough, exact in zip(mixed(network.both_logits, x), network.both_logits(x), strict=True):
        assert rough.dtype == torch.float32
        assert (rough - exact).abs().max() < 0.05 * exact.abs().max()


def test_gradients_are_in_float32(x):
    network = DistilledClassifier(VARIANTS["svt_nano"], CLASSES)
    mixed(network, x).sum().backward()
    assert {parameter.grad.dtype for parameter in network.blocks.parameters()} == {torch.float32}


def test_attention_runs_in_float32(x):
    seen = []

    def attend(q: torch.Tensor) -> torch.Tensor:
        y = F.scaled_dot_product_attention(q.bfloat16(), q.bfloat16(), q.bfloat16())
        seen.append(y.dtype)
        return y

    mixed(attend, x)
    assert seen == [torch.float32]


def test_images_without_objects_have_equal_targets_for_all_classes(x):
    found, targets = without_objects(x, 4)
    assert torch.equal(found[4:], x[4:])
    assert torch.allclose(targets[:4], torch.tensor(1 / CLASSES))
    assert set(targets[4:].flatten().tolist()) == {0.0, 1.0}


def test_a_shuffled_image_keeps_its_colours_and_loses_its_shapes(x):
    found, _ = without_objects(x, 4)
    assert torch.equal(found[:2].flatten(2).sort().values, x[:2].flatten(2).sort().values)
    assert not torch.equal(found[:2], x[:2])
    tile = SIDE // augment.TILES
    known = {
        tuple(each.flatten().tolist())
        for each in x[0].unfold(1, tile, tile).unfold(2, tile, tile).permute(1, 2, 0, 3, 4).flatten(0, 1)
    }
    assert tuple(found[0, :, :tile, :tile].flatten().tolist()) in known


def test_a_count_of_zero_leaves_all_images_unchanged(x):
    found, _ = without_objects(x, 0)
    assert torch.equal(found, x)


@pytest.mark.parametrize("areas", [(0.1, 0.2), (0.9, 1.0)])
def test_a_crop_covers_the_requested_fraction_of_the_image(areas):
    for crop in range(20):
        left, top, right, bottom = crops.box((200, 200), 0, crop, 0, areas)
        assert areas[0] <= (right - left) * (bottom - top) / 200**2 <= areas[1]
