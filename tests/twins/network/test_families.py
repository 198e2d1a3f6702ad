"""The differences between the ports of a network, each of which is an argument."""

import pytest
import torch

from twins.network.backbone import Backbone
from twins.network.heads.conv import ConvNormRelu, fold
from twins.network.layers import WindowAttention
from twins.network.variants import SVT_PATTERN, Family, Variant

TINY = Variant((32, 64, 96, 128), (2, 1, 1, 1), (1, 2, 3, 4), (2, 2, 2, 2), pattern=SVT_PATTERN)


def attention(edge, size):
    torch.manual_seed(0)
    layer = WindowAttention(32, 1, 7, Family(edge=edge))
    tokens = torch.randn(1, size[0] * size[1], 32, generator=torch.Generator().manual_seed(1))
    return layer(tokens, size, layer.edge_mask(size, 1, tokens.device))


@pytest.mark.parametrize(
    ("size", "differs"), [((15, 16), True), ((14, 16), False), ((15, 14), False), ((14, 14), False)]
)
def test_the_mask_applies_only_where_both_sides_are_padded(size, differs):
    assert torch.equal(attention("masked", size), attention("padded", size)) != differs


@pytest.mark.parametrize(
    ("rounding", "sizes"),
    [("floor", [(75, 100), (37, 50), (18, 25), (9, 12)]), ("ceil", [(75, 100), (38, 50), (19, 25), (10, 13)])],
)
def test_rounding_determines_the_map_size_of_sizes_that_do_not_divide(rounding, sizes):
    backbone = Backbone(TINY, Family(rounding=rounding))
    assert [tuple(x.shape[-2:]) for x in backbone.maps(torch.zeros(1, 3, 300, 400))] == sizes


def test_stage_norms_feed_the_next_stage():
    torch.manual_seed(0)
    backbone = Backbone(TINY, Family(stage_norms=True)).eval()
    image = torch.randn(1, 3, 64, 64)
    before = backbone.maps(image)
    with torch.no_grad():
        backbone.norm_list[0].bias.add_(torch.randn(32))
    after = backbone.maps(image)
    assert not torch.allclose(before[0], after[0])
    assert not torch.allclose(before[1], after[1])


def test_there_are_no_stage_norms_by_default():
    assert not [key for key in Backbone(TINY, Family()).state_dict() if key.startswith("norm_list")]


def test_epsilon_is_that_of_the_family():
    backbone = Backbone(TINY, Family(eps=1e-3, stage_norms=True))
    assert {backbone.norm_list[0].eps, backbone.blocks[0][0].norm1.eps} == {1e-3}


def test_folding_a_batch_norm_changes_values_only_by_rounding():
    generator = torch.Generator().manual_seed(0)
    layer = ConvNormRelu(16, 24, 3)
    for name, value in layer.bn.state_dict().items():
        noise = torch.randn(value.shape, generator=generator)
        value.copy_(noise.abs() + 0.1 if name == "running_var" else noise)
    x = torch.randn(2, 16, 9, 11, generator=generator)
    before = layer(x)
    fold(layer)
    assert not [key for key in layer.state_dict() if "bn" in key]
    assert torch.allclose(layer(x), before, rtol=1e-5, atol=1e-5 * before.std().item())
    fold(layer)
    assert torch.allclose(layer(x), before, rtol=1e-5, atol=1e-5 * before.std().item())
