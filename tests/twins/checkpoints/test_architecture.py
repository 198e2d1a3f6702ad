"""The variants of checkpoints: what the weights show, and what only metadata can say."""

import pytest
import torch

from tests import checkpoints, segmentation
from twins.checkpoints import checkpoint
from twins.errors import CheckpointError
from twins.network.variants import VARIANTS

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
