"""The maps of attention are the weights with which the layers add values, and their image shows them."""

from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from examples import attention
from tools.documents import ROOT
from twins.network.backbone import Backbone
from twins.network.layers import WindowAttention, to_map, to_tokens
from twins.network.variants import SVT_NANO, Family

SIZE, POINT = (16, 20), (15, 9)  # the last window of the rows is not complete


@pytest.fixture(params=["padded", "masked"])
def calls(request):
    torch.manual_seed(0)
    family = Family(edge=request.param)
    network = Backbone(replace(SVT_NANO, depths=(2, 2, 2, 2)), family).eval()
    with torch.inference_mode(), attention.recorded(network) as found:
        network.maps(torch.randn(1, 3, SIZE[0] * 4, SIZE[1] * 4))
    return found


def test_every_block_is_recorded_with_its_stage(calls):
    assert [call.stage for call in calls] == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("index", [0, 1])
@torch.inference_mode()
def test_values_added_with_the_weights_are_the_output_of_the_layer(calls, index):
    call = calls[index]
    layer, found = call.layer, attention.weights(call, POINT)
    if isinstance(layer, WindowAttention):
        values = layer.qkv(call.x[0]).unflatten(-1, (3, layer.heads, -1))[:, 2]
        padding = layer.qkv.bias.unflatten(-1, (3, layer.heads, -1))[2] * (1 - found.sum((1, 2)))[:, None]
    else:
        keys = layer.norm(to_tokens(layer.sr(to_map(call.x, call.size))))
        values, padding = layer.kv(keys)[0].unflatten(-1, (2, layer.heads, -1))[:, 1], 0
    mixed = torch.einsum("hn,nhd->hd", found.flatten(1), values) + padding
    expected = layer(call.x, call.size, call.mask)[0, POINT[0] * SIZE[1] + POINT[1]]
    assert torch.allclose(layer.proj(mixed.flatten()), expected, atol=1e-5)


def test_local_weights_are_zero_outside_the_window(calls):
    found = attention.weights(calls[0], POINT)
    assert found[:, :14].abs().max() == 0
    assert found[:, :, :7].abs().max() == found[:, :, 14:].abs().max() == 0


def test_the_command_draws_all_blocks_of_the_model_that_ships(tmp_path):
    arguments = [str(ROOT / "examples" / "cat.jpg"), str(tmp_path / "maps.png"), "--at", "0.4,0.3"]
    done = CliRunner().invoke(attention.main, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    with Image.open(tmp_path / "maps.png") as drawn:
        assert drawn.size == (6 + 4 * 150, 6 + 4 * 150)


@pytest.mark.parametrize("point", ["middle", "0.5", "2,0"])
def test_a_point_outside_the_image_is_refused(point, tmp_path):
    arguments = [str(ROOT / "examples" / "cat.jpg"), str(tmp_path / "maps.png"), "--at", point]
    assert CliRunner().invoke(attention.main, arguments).exit_code == 2
