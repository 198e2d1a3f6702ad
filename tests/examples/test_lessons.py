"""What a network learns from: precision, and images that show no thing."""

import pytest
import torch
from torch.nn import functional as F

from examples.train import augment, views
from examples.train.classify import Student
from examples.train.precision import mixed
from twins.network.variants import VARIANTS

BATCH, CLASSES, SIDE = 16, 3, 56


@pytest.fixture
def x():
    return torch.randn(BATCH, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def nothing(x: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The images and one kind of targets, with so many that show no thing."""
    targets = F.one_hot(torch.arange(BATCH) % CLASSES, CLASSES).float()
    found, (targets,) = augment.nothing(x.clone(), (targets,), torch.Generator().manual_seed(1), count)
    return found, targets


def test_half_precision_changes_an_answer_little_and_leaves_it_in_float32(x):
    torch.manual_seed(0)
    student = Student(VARIANTS["svt_nano"], CLASSES).eval()
    for rough, exact in zip(mixed(student.answers, x), student.answers(x), strict=True):
        assert rough.dtype == torch.float32
        assert (rough - exact).abs().max() < 0.05 * exact.abs().max()


def test_gradients_come_back_in_float32(x):
    student = Student(VARIANTS["svt_nano"], CLASSES)
    mixed(student, x).sum().backward()
    assert {parameter.grad.dtype for parameter in student.blocks.parameters()} == {torch.float32}


def test_attention_is_done_in_float32(x):
    seen = []

    def attend(q: torch.Tensor) -> torch.Tensor:
        y = F.scaled_dot_product_attention(q.bfloat16(), q.bfloat16(), q.bfloat16())
        seen.append(y.dtype)
        return y

    mixed(attend, x)
    assert seen == [torch.float32]


def test_images_that_show_no_thing_could_be_of_any_class(x):
    found, targets = nothing(x, 4)
    assert torch.equal(found[4:], x[4:])
    assert torch.allclose(targets[:4], torch.tensor(1 / CLASSES))
    assert set(targets[4:].flatten().tolist()) == {0.0, 1.0}


def test_a_shuffled_image_keeps_its_colours_and_loses_its_shapes(x):
    found, _ = nothing(x, 4)
    assert torch.equal(found[:2].flatten(2).sort().values, x[:2].flatten(2).sort().values)
    assert not torch.equal(found[:2], x[:2])
    tile = SIDE // augment.TILES
    known = {
        tuple(each.flatten().tolist())
        for each in x[0].unfold(1, tile, tile).unfold(2, tile, tile).permute(1, 2, 0, 3, 4).flatten(0, 1)
    }
    assert tuple(found[0, :, :tile, :tile].flatten().tolist()) in known


def test_no_image_has_to_show_nothing(x):
    found, _ = nothing(x, 0)
    assert torch.equal(found, x)


@pytest.mark.parametrize("shares", [(0.1, 0.2), (0.9, 1.0)])
def test_a_box_shows_as_much_of_an_image_as_it_is_asked_to(shares):
    for view in range(20):
        left, top, right, bottom = views.box((200, 200), 0, view, 0, shares)
        assert shares[0] <= (right - left) * (bottom - top) / 200**2 <= shares[1]
