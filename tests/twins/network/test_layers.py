"""The layers: differences between the code bases, and fused kernels."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from tests.checkpoints import TINY_PCPVT, TINY_SVT
from twins.network.backbone import Backbone
from twins.network.heads.classify import Classifier
from twins.network.layers import WindowAttention
from twins.network.variants import VARIANTS, Family

FAMILIES = {
    "timm": Family(),
    "mmpretrain": Family(edge="masked", rounding="ceil", eps=1e-5),
    "dense": Family(edge="masked", rounding="ceil", stage_norms=True),
}
DEEP_REDUCTION = dataclasses.replace(TINY_PCPVT, reductions=(8, 4, 2, 1))


def window_attention(edge):
    torch.manual_seed(0)
    return WindowAttention(32, 1, 7, Family(edge=edge))


def attend(edge, size):
    tokens = torch.randn(2, size[0] * size[1], 32, generator=torch.Generator().manual_seed(1))
    return attended_by(window_attention(edge), tokens, size)


def attended_by(attention, tokens, size):
    return attention(tokens, size, attention.edge_mask(size, len(tokens), tokens.device))


@pytest.mark.parametrize("size", [(7, 7), (56, 56), (14, 56), (56, 64), (64, 56), (1, 7)], ids=str)
def test_the_mask_changes_nothing_unless_both_sides_are_padded(size):
    assert torch.equal(attend("masked", size), attend("padded", size))


@pytest.mark.parametrize("size", [(64, 80), (8, 8), (75, 100), (1, 1), (6, 8)], ids=str)
def test_the_mask_applies_where_both_sides_are_padded(size):
    assert not torch.allclose(attend("masked", size), attend("padded", size))


def test_a_masked_token_sees_no_padding():
    """Where a window holds one token and padding, the token attends to itself alone."""
    attention = window_attention("masked")
    token = torch.randn(1, 64, 32)
    alone = attention.proj(attention.qkv(token[:, -1]).chunk(3, dim=-1)[2])
    assert torch.allclose(attended_by(attention, token, (8, 8))[:, -1], alone, atol=1e-6)


def test_a_window_sees_nothing_outside_it():
    tokens = torch.randn(1, 14 * 14, 32)
    changed = tokens.clone()
    changed[:, -1] += 1
    attention = window_attention("padded")
    difference = (attention(tokens, (14, 14), None) != attention(changed, (14, 14), None)).any(dim=2).reshape(14, 14)
    assert difference.nonzero().min() == 7


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [
        ("floor", [(75, 100), (37, 50), (18, 25), (9, 12)]),
        ("ceil", [(75, 100), (38, 50), (19, 25), (10, 13)]),
    ],
)
@pytest.mark.parametrize("variant", [TINY_SVT, TINY_PCPVT], ids=["svt", "pcpvt"])
def test_rounding_determines_the_size_of_the_maps(variant, rounding, expected):
    with torch.inference_mode():
        maps = Backbone(variant, Family(rounding=rounding)).maps(torch.zeros(1, 3, 300, 400))
    assert [tuple(grid.shape[2:]) for grid in maps] == expected


def test_the_first_maps_do_not_depend_on_the_number_of_maps():
    backbone, images = Backbone(TINY_SVT, Family()), torch.randn(1, 3, 64, 64)
    assert torch.equal(backbone.maps(images, count=2)[1], backbone.maps(images)[1])


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (230, 225), (32, 200)], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("variant", [VARIANTS["svt_nano"], DEEP_REDUCTION], ids=["svt", "pcpvt"])
def test_every_size_from_32_pixels_up_works(variant, family, size):
    network = Classifier(variant, FAMILIES[family], 5).eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, *size)).shape == (2, 5)


def epsilons(pattern):
    """Return the epsilons of the norms whose names contain `pattern`, in a network with four different ones."""
    family = Family(eps=0.1, patch_eps=0.2, reduction_eps=0.3, stage_norms=True)
    norms = Classifier(TINY_SVT, family, 5).named_modules()
    return {module.eps for name, module in norms if isinstance(module, torch.nn.LayerNorm) and pattern in f".{name}."}


@pytest.mark.parametrize(
    ("norm", "eps"),
    [(".norm1.", 0.1), (".norm2.", 0.1), (".norm_list.", 0.1), (".patch_embeds.", 0.2), (".attn.norm.", 0.3)],
)
def test_every_norm_has_its_own_epsilon(norm, eps):
    assert epsilons(norm) == {eps}


def test_the_last_norm_has_the_epsilon_of_the_blocks():
    assert Classifier(TINY_SVT, Family(eps=0.1), 5).norm.eps == 0.1


@pytest.fixture
def attended(monkeypatch):
    """Record the number of dimensions of the inputs of attention."""
    seen, original = set(), F.scaled_dot_product_attention

    def record(*tensors, **options):
        seen.update(tensor.ndim for tensor in tensors)
        return original(*tensors, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", record)
    return seen


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("variant", [TINY_SVT, TINY_PCPVT], ids=["svt", "pcpvt"])
def test_attention_has_four_dimensions_so_that_fused_kernels_apply(attended, variant, family):
    Classifier(variant, FAMILIES[family], 5)(torch.zeros(2, 3, 100, 120))
    assert attended == {4}
