"""The recipe on every row of variants: it takes a step, and what it exports is served as that row."""

import pytest
import torch
from click.testing import CliRunner

from examples.train import export
from examples.train.__main__ import main
from examples.train.classify import DistilledClassifier
from tests import training
from twins.network.variants import VARIANTS
from twins.zoo.loading import load
from twins.zoo.models import ModelReference

ROWS = [name for name in VARIANTS if "nano" in name]


@pytest.mark.parametrize("name", ROWS)
def test_every_row_learns_and_is_loaded_as_itself(name, tmp_path):
    torch.manual_seed(0)
    network = DistilledClassifier(VARIANTS[name], 3)
    logits, _ = network.both_logits(torch.randn(2, 3, 56, 56))
    logits.sum().backward()
    assert not [key for key, each in network.named_parameters() if each.grad is None and "imagenet" not in key]
    export.classifier(network, ["a", "b", "c"], tmp_path / "model.safetensors")
    assert load(ModelReference("mine", tmp_path / "model.safetensors")).card.variant == name


def test_a_segmentation_network_of_three_stages_is_refused(tmp_path):
    training.pairs(tmp_path / "train", 4)
    (tmp_path / "labels.txt").write_text("#000000\tground\n#0000ff\tbar\n#ff0000\tdisc\n")
    folders = ("--train", str(tmp_path / "train"), "--test", str(tmp_path / "train"), "--output", str(tmp_path / "run"))
    variant = ("--labels", str(tmp_path / "labels.txt"), "--variant", "svt_nano_lll")
    done = CliRunner().invoke(main, ["segment", *folders, *variant])
    assert "svt_nano_lll has 3 stages; this network needs the maps of four" in done.output
