"""The project from which a detection checkpoint comes, and the differences between the projects."""

import re

import numpy as np
import pytest
import torch

from tests import detection
from tests.golden import cases, names
from twins.checkpoints import checkpoint, formats
from twins.errors import CheckpointError
from twins.network.variants import Family
from twins.zoo.loading import load
from twins.zoo.models import ModelReference

GOLDEN = cases.named("mmdet")


def save(content: object, folder, name: str = "weights.pth"):
    path = folder / name
    torch.save(content, path)
    return path


def small(head: str = "retinanet") -> dict[str, torch.Tensor]:
    return names.cheap_state(names.mmdet("svt_small", head))


@pytest.mark.parametrize("name", GOLDEN)
def test_the_generated_keys_equal_those_of_the_golden_case(name):
    case = cases.read(name)
    kind, head = ("pcpvt" if "pcpvt" in name else "svt"), ("retinanet" if "retinanet" in name else "maskrcnn")
    assert names.mmdet(f"{kind}_small", head) == {key: tuple(shape) for key, shape in case.facts["keys"]}


@pytest.mark.parametrize("prefix", ["", *formats.PREFIXES[:2]])
@pytest.mark.parametrize("name", GOLDEN)
def test_every_golden_key_list_is_recognised_by_one_format(name, prefix):
    keys = [prefix + key for key, _ in cases.read(name).facts["keys"]]
    length = formats.strip_prefixes(keys)
    fitting = [each for each in formats.FORMATS if formats.fits(each, [key[length:] for key in keys])]
    assert fitting == [formats.MMDET]


@pytest.mark.parametrize("variant", ["pcpvt_small", "svt_small"])
def test_detectron2_is_recognised_by_its_keys(variant):
    keys = list(names.detectron2(variant))
    assert [each for each in formats.FORMATS if formats.fits(each, keys)] == [formats.DETECTRON2]


@pytest.mark.parametrize(
    ("keys", "family"),
    [
        (names.mmdet("svt_small", "retinanet"), Family(stage_norms=True)),
        (names.mmdet("pcpvt_small", "maskrcnn"), Family()),
        (names.detectron2("svt_small"), Family(anchors="size", relu_before_p7=True)),
        (names.detectron2("pcpvt_small"), Family(anchors="size", relu_before_p7=True)),
    ],
)
def test_a_network_behaves_as_in_its_project(keys, family):
    assert checkpoint.recognise(names.cheap_state(keys), {}).declared.family == family


@pytest.mark.parametrize("head", ["retinanet", "maskrcnn"])
def test_the_number_of_classes_is_that_of_the_weights(tmp_path, head):
    card = load(ModelReference("mine", detection.tiny(tmp_path, head))).card
    assert ([label.name for label in card.labels], card.task) == (["cat", "dog", "bird"], "detect")


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("keys", [names.mmdet("pcpvt_small", "retinanet"), names.detectron2("pcpvt_small")])
def test_a_saved_network_is_unchanged(tmp_path, keys, half):
    before = checkpoint.load(save({"state_dict": names.cheap_state(keys)}, tmp_path))
    checkpoint.save(before, tmp_path / "own.safetensors", half=half)
    after = checkpoint.load(tmp_path / "own.safetensors")
    assert (after.variant, after.declared, after.head) == (before.variant, before.declared, before.head)
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        levels = [checkpoint.build(each)(image).levels for each in (before, after)]
    for expected, found in zip(*levels, strict=True):
        assert torch.allclose(found.logits, expected.logits, atol=3e-2 if half else 0)
        assert torch.equal(found.anchors, expected.anchors)


@pytest.mark.parametrize("key", ["neck.fpn_convs.4.conv.bias", "bbox_head.reg_convs.3.conv.weight"])
def test_a_missing_parameter_is_named(tmp_path, key):
    state = small()
    del state[key]
    with pytest.raises(CheckpointError, match=f"{re.escape(key)} is missing"):
        load(ModelReference("mine", save(state, tmp_path)))


def test_a_mask_head_without_its_last_layer_is_refused(tmp_path):
    state = small("maskrcnn")
    del state["roi_head.mask_head.conv_logits.weight"]
    with pytest.raises(CheckpointError, match="no known head"):
        checkpoint.load(save(state, tmp_path))


def test_an_unknown_key_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"unknown keys: roi_head\.semantic_head\.weight"):
        checkpoint.load(save(small("maskrcnn") | {"roi_head.semantic_head.weight": torch.zeros(1)}, tmp_path))


def test_tolerant_reading_keeps_the_weights_of_a_training_run(history_buffer, tmp_path, monkeypatch):
    hub = {"log_scalars": {"train/loss": history_buffer()}, "runtime_info": {"iter": np.int64(3)}, "resumed_keys": {}}
    meta = {"dataset_meta": {"classes": tuple(f"thing {i}" for i in range(80))}}
    path = save({"meta": meta, "state_dict": small(), "optimizer": {}, "message_hub": hub}, tmp_path)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="twins convert"):
        checkpoint.load(path)
    found = checkpoint.load(path, tolerant=True)
    assert (found.format, found.head, found.declared.labels[3]) == ("mmdetection", "retinanet", "thing 3")
    checkpoint.build(found)
