"""The rows of variants: patterns of blocks, functions of sub-sampling, and positions."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from twins.network.backbone import Backbone
from twins.network.heads.classify import Classifier
from twins.network.layers import SUBSAMPLINGS, PositionTable, SubsampledAttention, WindowAttention, cubic_shares
from twins.network.variants import PUBLISHED, SVT_NANO, VARIANTS, Family

ROWS = {name: VARIANTS[name] for name in VARIANTS if "nano" in name}
IMAGE = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def network(**changes):
    torch.manual_seed(0)
    return Classifier(replace(SVT_NANO, **changes), Family(), 5).eval()


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("size", [(224, 224), (256, 320)], ids=str)
def test_every_row_classifies_images_of_any_size(name, size):
    torch.manual_seed(0)
    with torch.inference_mode():
        logits = Classifier(ROWS[name], Family(), 5).eval()(torch.randn(1, 3, *size))
    assert logits.shape == (1, 5)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_rows_keep_their_letters(name):
    row = PUBLISHED[name]
    assert set(row.pattern) == ({"LG"} if row.kind == "svt" else {"G"})


def test_a_pattern_is_repeated_to_the_depth_of_its_stage():
    row = replace(SVT_NANO, pattern=("L", "LG", "LLG", "GL"), depths=(2, 3, 7, 2))
    assert [row.letters(stage) for stage in range(4)] == ["LL", "LGL", "LLGLLGL", "GL"]


def test_letters_determine_the_attention_of_each_block():
    with torch.device("meta"):
        blocks = Backbone(replace(SVT_NANO, pattern=("G", "LLG", "GL", "L"), depths=(1, 3, 2, 1)), Family()).blocks
    kinds = {WindowAttention: "L", SubsampledAttention: "G"}
    assert ["".join(kinds[type(block.attn)] for block in stage) for stage in blocks] == ["G", "LLG", "GL", "L"]


def test_equal_networks_have_equal_variants():
    assert replace(SVT_NANO, pattern=("LGLG", "LG", "LGLG", "LGL")) == SVT_NANO
    local = replace(SVT_NANO, pattern=("L",) * 4)
    assert replace(local, reductions=(4, 4, 4, 4), subsampling="average") == local


@pytest.mark.parametrize(
    "changes",
    [
        {"pattern": ("LG",) * 3},
        {"pattern": ("LX",) * 4},
        {"pattern": ("",) * 4},
        {"dims": (32, 64)},
        {"window": 0},
        {"reductions": (8, 4, 2, 0)},
        {"subsampling": "maximum"},
        {"positions": "relative"},
        {"encode_after": 2},
        {"encode_after": -2},
    ],
    ids=str,
)
def test_values_of_which_no_network_can_be_built_are_rejected(changes):
    with pytest.raises(ValueError, match=r"stages|letters|least|sub-sampling|encoded"):
        replace(SVT_NANO, **changes)


def test_windows_after_a_global_block_are_masked_too():
    masked, padded = (
        Backbone(replace(SVT_NANO, pattern=("GL",) * 4), Family(edge=edge)).eval() for edge in ("masked", "padded")
    )
    masked.load_state_dict(padded.state_dict())
    assert not torch.equal(masked.maps(IMAGE)[0], padded.maps(IMAGE)[0])


# positions


def test_the_place_of_the_position_convolution_changes_the_result_and_not_the_weights():
    networks = [network(encode_after=index) for index in (-1, 0, 1)]
    assert len({tuple(each.state_dict()) for each in networks}) == 1
    results = [each(IMAGE) for each in networks]
    assert not any(torch.allclose(results[a], results[b]) for a, b in ((0, 1), (1, 2), (0, 2)))


def test_without_positions_there_is_neither_a_convolution_nor_a_table():
    assert not [key for key in network(positions="none").state_dict() if key.startswith("pos_")]


@pytest.mark.parametrize("size", [(7, 7), (14, 14), (5, 9), (3, 20)], ids=str)
def test_a_table_is_resized_as_pytorch_resizes(size):
    torch.manual_seed(0)
    table = PositionTable(4, 7)
    expected = F.interpolate(table.weight[None], size=size, mode="bicubic", align_corners=False)
    found = table(torch.zeros(1, size[0] * size[1], 4), size)
    assert torch.allclose(found, expected.flatten(2).transpose(1, 2), atol=1e-6)


def test_a_table_of_its_own_size_is_not_changed():
    assert torch.equal(cubic_shares(torch.zeros(1), 56, 56), torch.eye(56))


# sub-sampling


@pytest.mark.parametrize("name", SUBSAMPLINGS)
@pytest.mark.parametrize("reduction", [2, 4])
def test_every_function_drops_the_remaining_rows_and_columns(name, reduction):
    assert SUBSAMPLINGS[name](8, reduction)(torch.zeros(1, 8, 11, 14)).shape == (1, 8, 11 // reduction, 14 // reduction)


def test_average_pooling_takes_the_mean_of_each_cell():
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert SUBSAMPLINGS["average"](1, 2)(x).tolist() == [[[[2.5, 4.5], [10.5, 12.5]]]]


# the paper's rows


@pytest.mark.parametrize(
    ("name", "letters"),
    [
        ("svt_small_lll", ["LL", "LL", "L" * 10]),
        ("svt_small_l_llg_llg_g", ["LL", "LLG", "LLGLLGLLGL", "GGGG"]),
        ("svt_small_l_lg_lg_g", ["LL", "LG", "LG" * 5, "GGGG"]),
        ("svt_small_lllg", ["LL", "LL", "L" * 10, "GGGG"]),
        ("pvt_small", ["GGG", "GGGG", "GGGGGG", "GGG"]),
    ],
)
def test_the_rows_of_table_5_have_their_blocks(name, letters):
    row = VARIANTS[name]
    assert [row.letters(stage) for stage in range(row.stages)] == letters
    assert row.positions == ("absolute" if name == "pvt_small" else "convolution")
