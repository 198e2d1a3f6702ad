"""The project from which a checkpoint comes, and the metadata of its file."""

import pickle

import numpy as np
import pytest
import torch

from tests.golden import cases, names
from twins.checkpoints import checkpoint, formats
from twins.errors import CheckpointError
from twins.network.variants import Family
from twins.preprocessing import resize_keep_ratio
from twins.zoo.loading import load
from twins.zoo.models import ModelReference

FORMAT_OF = {
    "timm": formats.TIMM,
    "mmpretrain": formats.MMPRETRAIN,
    "mmseg": formats.MMSEG,
    "authors-seg": formats.AUTHORS_SEG,
}
GOLDEN = [(name, found) for prefix, found in FORMAT_OF.items() for name in cases.named(prefix)]


def golden_keys(name: str) -> list[str]:
    return [key for key, _ in cases.read(name).facts["keys"]]


def small(head: str = "fpn", project=names.mmseg) -> dict[str, torch.Tensor]:
    return names.cheap_state(project("svt_small", head))


def save(content: object, folder, name: str = "weights.pth"):
    path = folder / name
    torch.save(content, path)
    return path


@pytest.mark.parametrize(("name", "expected"), GOLDEN)
def test_every_golden_key_list_is_recognised_by_one_format(name, expected):
    keys = golden_keys(name)
    assert [each.name for each in formats.FORMATS if formats.fits(each, keys)] == [expected.name]


@pytest.mark.parametrize(("name", "expected"), GOLDEN)
@pytest.mark.parametrize("prefix", formats.PREFIXES[:3])
def test_the_prefix_of_a_wrapper_does_not_hide_the_format(name, expected, prefix):
    keys = [prefix + key for key in golden_keys(name)]
    length = formats.strip_prefixes(keys)
    assert formats.recognise([key[length:] for key in keys]) is expected


def test_queries_keys_and_values_are_rows_of_the_joined_parameter(tmp_path):
    state = small()
    joined = torch.arange(3 * 64.0)
    state["backbone.layers.0.1.attn.attn.in_proj_bias"] = joined
    found = checkpoint.load(save(state, tmp_path)).state
    assert torch.equal(found["backbone.blocks.0.1.attn.q.bias"], joined[:64])
    assert torch.equal(found["backbone.blocks.0.1.attn.kv.bias"], joined[64:])


@pytest.mark.parametrize(
    ("project", "family"),
    [
        (names.mmseg, Family(edge="masked", rounding="ceil", eps=1e-5, stage_norms=True)),
        (names.authors, Family(edge="masked", rounding="floor", eps=1e-6, stage_norms=True)),
    ],
)
def test_a_network_behaves_as_in_its_project(tmp_path, project, family):
    assert checkpoint.load(save(small("upernet", project), tmp_path)).declared.family == family


def test_counters_and_the_auxiliary_head_are_left_out(tmp_path):
    state = checkpoint.load(save(small("upernet"), tmp_path)).state
    assert not [key for key in state if "num_batches_tracked" in key or "auxiliary" in key]


def test_an_unknown_key_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"unknown keys: decode_head\.extra\.weight"):
        checkpoint.load(save(small() | {"decode_head.extra.weight": torch.zeros(1)}, tmp_path))


def test_a_missing_parameter_is_named(tmp_path):
    state = small()
    del state["neck.fpn_convs.2.conv.bias"]
    with pytest.raises(CheckpointError, match=r"neck\.fpn_convs\.2\.conv\.bias is missing"):
        load(ModelReference("mine", save(state, tmp_path)))


def test_a_bare_trunk_is_refused(tmp_path):
    state = {key.removeprefix("backbone."): value for key, value in small().items() if key.startswith("backbone.")}
    with pytest.raises(CheckpointError, match="no known head"):
        checkpoint.load(save(state, tmp_path))


def test_another_head_than_the_name_says_is_refused_with_the_right_name(tmp_path):
    path = save(small("fpn"), tmp_path)
    with pytest.raises(CheckpointError, match="twins_svt_small_fpn_ade20k="):
        load(ModelReference("twins_svt_small_upernet_ade20k", path))
    with pytest.raises(CheckpointError, match="twins_svt_small_fpn_ade20k="):
        load(ModelReference("twins_svt_small", path))


@pytest.mark.parametrize(
    "meta",
    [
        {"CLASSES": ("wall ", "door"), "PALETTE": [[1, 2, 3], [255, 0, 16]]},
        {"dataset_meta": {"classes": ["wall ", "door"], "palette": ((1, 2, 3), (255, 0, 16))}},
    ],
)
def test_class_names_and_colours_come_from_the_file(tmp_path, meta):
    state = small()
    for key in ("weight", "bias"):
        state[f"decode_head.conv_seg.{key}"] = state[f"decode_head.conv_seg.{key}"][:2]
    card = load(ModelReference("mine", save({"meta": meta, "state_dict": state}, tmp_path))).card
    assert [(label.name, label.colour) for label in card.labels] == [("wall", "#010203"), ("door", "#ff0010")]
    assert (card.task, card.geometry, card.exif_orientation) == ("segment", resize_keep_ratio(512), True)


def test_a_broken_palette_does_not_affect_the_labels(tmp_path):
    meta = {"CLASSES": ["a"] * 150, "PALETTE": [[1, 2, 300]] * 150}
    card = load(ModelReference("mine", save({"meta": meta, "state_dict": small()}, tmp_path))).card
    assert (card.labels[0].name, card.labels[0].colour) == ("a", None)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(("head", "project"), [("fpn", names.mmseg), ("upernet", names.authors)])
def test_a_saved_network_is_unchanged(tmp_path, head, project, half):
    before = checkpoint.load(save({"meta": {"CLASSES": ["a"] * 150}, "state_dict": small(head, project)}, tmp_path))
    checkpoint.save(before, tmp_path / "own.safetensors", half=half)
    after = checkpoint.load(tmp_path / "own.safetensors")
    assert (after.variant, after.declared, after.head) == (
        before.variant,
        before.declared,
        before.head,
    )
    assert after.state.keys() == before.state.keys()
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, found = checkpoint.build(before)(image), checkpoint.build(after)(image)
    assert torch.allclose(found, expected, atol=(3e-2 if half else 0) * expected.std().item())


@pytest.fixture
def training_checkpoint(history_buffer, tmp_path, monkeypatch):
    hub = {"log_scalars": {"train/loss": history_buffer()}, "runtime_info": {"iter": np.int64(3)}, "resumed_keys": {}}
    optimizer = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-4}]}
    meta = {"dataset_meta": {"classes": ["a"] * 150}}
    path = save({"meta": meta, "state_dict": small(), "optimizer": optimizer, "message_hub": hub}, tmp_path)
    monkeypatch.undo()
    with pytest.raises(ModuleNotFoundError):
        pickle.loads(b"cmmengine.logging.history_buffer\nHistoryBuffer\n.")
    return path


def test_a_training_checkpoint_of_mmengine_is_rejected_with_advice(training_checkpoint):
    with pytest.raises(CheckpointError, match=r"mmengine\.logging\.history_buffer\.HistoryBuffer.*twins convert"):
        checkpoint.load(training_checkpoint)


def test_tolerant_reading_keeps_a_training_checkpoints_weights(training_checkpoint):
    found = checkpoint.load(training_checkpoint, tolerant=True)
    assert (found.format, found.head, found.declared.labels) == ("mmsegmentation", "fpn", ("a",) * 150)
    checkpoint.build(found)
