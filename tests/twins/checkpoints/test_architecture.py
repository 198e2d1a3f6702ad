"""The variants of checkpoints: what the weights show, and what only metadata can say."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tests import checkpoints, segmentation
from tests.checkpoints import TINY_SVT
from twins.checkpoints import checkpoint
from twins.errors import CheckpointError
from twins.network.heads.classify import Classifier
from twins.network.variants import SVT_NANO, VARIANTS, Family

ROWS = {name: VARIANTS[name] for name in VARIANTS if "nano" in name}
CLASSES = 5


@pytest.fixture(params=ROWS)
def row(request):
    return ROWS[request.param]


def test_the_weights_show_pattern_subsampling_and_positions(row):
    state = checkpoints.hollow(checkpoints.seeded(row, CLASSES))
    found = checkpoint.recognise(state, {}).variant
    assert (found.pattern, found.subsampling, found.positions) == (row.pattern, row.subsampling, row.positions)


def test_a_network_without_positions_is_recognised():
    state = {
        key: value for key, value in checkpoints.seeded(ROWS["svt_nano"], CLASSES).items() if "pos_block" not in key
    }
    assert checkpoint.recognise(state, {}).variant.positions == "none"


def test_a_dense_head_on_three_stages_is_refused_by_the_number_of_stages(tmp_path):
    state = checkpoint.load(segmentation.tiny(tmp_path)).state
    three = {key: value for key, value in state.items() if not key.startswith("backbone.") or key.split(".")[2] != "3"}
    with pytest.raises(CheckpointError, match="has 3 stages; a network with the head fpn needs the maps of 4"):
        checkpoint.recognise(three, {})


def test_weights_of_no_possible_network_are_refused():
    state = checkpoints.seeded(ROWS["svt_nano"], CLASSES)
    state["blocks.0.1.attn.sr.weight"] = torch.zeros(32, 32, 0, 0)
    with pytest.raises(CheckpointError, match="no network has this architecture"):
        checkpoint.recognise(state, {})


# metadata

UNUSUAL = {
    "window": replace(SVT_NANO, window=5),
    "before": replace(SVT_NANO, encode_after=-1),
    "second": replace(SVT_NANO, encode_after=1),
    "heads": replace(SVT_NANO, heads=(2, 2, 2, 2)),
    "pooling": replace(SVT_NANO, subsampling="average", reductions=(4, 2, 2, 1)),
}


@pytest.mark.parametrize("variant", [*ROWS.values(), *UNUSUAL.values()], ids=[*ROWS, *UNUSUAL])
def test_a_saved_network_gives_the_same_logits_when_it_is_loaded(variant, tmp_path):
    state, x = checkpoints.seeded(variant, CLASSES), torch.randn(1, 3, 96, 128)
    network = Classifier(variant, Family(), CLASSES).eval()
    network.load_state_dict(state)
    found = replace(checkpoint.recognise(state, {}), variant=variant)
    checkpoint.save(found, tmp_path / "saved.safetensors")
    with torch.inference_mode():
        again = checkpoint.build(checkpoint.load(tmp_path / "saved.safetensors"))
        assert torch.equal(again(x), network(x))


def test_metadata_has_what_the_weights_do_not_show(tmp_path):
    checkpoint.save(checkpoint.recognise(checkpoints.seeded(TINY_SVT), {}), tmp_path / "saved.safetensors")
    with safe_open(tmp_path / "saved.safetensors", framework="pt") as file:
        found = json.loads(file.metadata()["twins.variant"])
    assert found == {"heads": [1, 1, 2, 2], "reductions": [2, 2, 2, 1], "window": 7, "encode_after": 0}


@pytest.mark.parametrize(
    "value",
    [
        "{",
        "[]",
        "7",
        '{"dims": [32, 32, 64, 64]}',
        '{"window": "wide"}',
        '{"window": true}',
        '{"window": 0}',
        '{"window": 100000000}',
        '{"heads": 2}',
        '{"heads": [1, 1, 1]}',
        '{"heads": [1, 1, 1, 3]}',
        '{"heads": [0, 1, 1, 1]}',
        '{"reductions": [2, 2, 2, 0.5]}',
        '{"encode_after": 9}',
    ],
)
def test_a_damaged_declaration_of_the_variant_is_refused(value, tmp_path):
    save_file(checkpoints.seeded(TINY_SVT), tmp_path / "weights.safetensors", {"twins.variant": value})
    with pytest.raises(CheckpointError, match=r"its metadata is damaged: twins.variant"):
        checkpoint.load(tmp_path / "weights.safetensors")


def test_a_declaration_that_contradicts_the_weights_is_refused(tmp_path):
    declared = {"twins.variant": '{"reductions": [4, 4, 2, 1]}'}
    save_file(checkpoints.seeded(TINY_SVT), tmp_path / "weights.safetensors", declared)
    with pytest.raises(CheckpointError, match=r"attn.sr.weight is .*, not "):
        checkpoint.build(checkpoint.load(tmp_path / "weights.safetensors"))
