"""Checkpoint files: which are read, the errors of the others, and that no code in them ever runs."""

import argparse
import dataclasses
import io
import json
import os
import pickle
import struct
from collections import OrderedDict
from contextlib import suppress

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import twins
from tests import checkpoints
from tests.checkpoints import TINY_PCPVT, TINY_SVT
from twins.checkpoints import checkpoint
from twins.checkpoints.formats import PREFIXES
from twins.errors import CheckpointError
from twins.network.heads.classify import Classifier
from twins.network.variants import VARIANTS, Family
from twins.preprocessing import Preprocessing
from twins.zoo import loading
from twins.zoo.models import ModelReference

CLASSES = 13


@pytest.fixture(scope="module")
def tiny():
    return checkpoints.seeded(TINY_SVT, CLASSES)


@pytest.fixture
def saved(tmp_path):
    """Save an object as a .pth file."""

    def save(content):
        torch.save(content, tmp_path / "weights.pth")
        return tmp_path / "weights.pth"

    return save


def build(path):
    return checkpoint.build(checkpoint.load(path))


def refusal(path, *, tolerant=False):
    with pytest.raises(CheckpointError) as caught:
        checkpoint.build(checkpoint.load(path, tolerant=tolerant))
    return str(caught.value)


# what the weights say about themselves


@pytest.mark.parametrize(
    "variant", [*VARIANTS.values(), TINY_SVT, TINY_PCPVT], ids=[*VARIANTS, "tiny-svt", "tiny-pcpvt"]
)
def test_the_variant_is_inferred_from_the_shapes(variant):
    with torch.device("meta"):
        state = Classifier(variant, Family(), 5).state_dict()
    assert checkpoint.recognise(state, {}).variant == variant


def test_a_fine_tuned_network_of_any_class_count_loads_under_a_free_name(saved, tiny):
    network = twins.load("flowers", saved(tiny))
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, CLASSES)


@pytest.mark.parametrize(
    "stack", [*([p] for p in PREFIXES), ["module.", "model."], ["model.", "timm_model.", "module."]]
)
def test_prefixes_are_removed(saved, tiny, stack):
    wrapped = {"".join(stack) + key: tensor for key, tensor in tiny.items()}
    assert checkpoint.load(saved(wrapped)).state.keys() == tiny.keys()


def test_a_trunk_with_a_prefix_beside_a_bare_head_loads(saved, tiny):
    wrapped = {key if key.startswith("head.") else f"backbone.{key}": tensor for key, tensor in tiny.items()}
    assert checkpoint.load(saved(wrapped)).state.keys() == tiny.keys()


@pytest.mark.parametrize("container", ["state_dict_ema", "model_ema", "state_dict", "model"])
def test_every_container_is_opened(saved, tiny, container):
    assert checkpoint.load(saved({container: tiny, "epoch": 1})).state.keys() == tiny.keys()


@pytest.mark.parametrize(("better", "worse"), [("state_dict_ema", "state_dict"), ("model_ema", "model")])
def test_the_moving_average_is_preferred(saved, tiny, better, worse):
    loaded = checkpoint.load(saved({worse: checkpoints.hollow(tiny), better: tiny}))
    assert torch.equal(loaded.state["head.weight"], tiny["head.weight"])


def test_half_precision_becomes_float32(saved, tiny):
    network = build(saved({key: tensor.half() for key, tensor in tiny.items()}))
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_a_network_outlives_its_file(tiny, tmp_path):
    path = checkpoints.safetensors(tiny, tmp_path / "weights")
    network = build(path)
    with path.open("r+b") as file:  # in place, as `cp` does
        file.write(bytes(path.stat().st_size))
    assert torch.equal(network.head.weight, tiny["head.weight"])


# what does not fit


def test_a_published_name_with_another_variants_file_names_the_closest_variant(saved):
    with torch.device("meta"):
        state = Classifier(VARIANTS["svt_small"], Family(), 1000).state_dict()
    hollow = {key: torch.zeros(()).expand(tensor.shape) for key, tensor in state.items()}
    with pytest.raises(CheckpointError, match="closest variant is svt_small: --model twins_svt_small="):
        twins.load("twins_svt_base", saved(hollow))


@pytest.fixture
def seven(saved):
    """Return a network with another number of classes than its name has."""
    with torch.device("meta"):
        state = Classifier(VARIANTS["svt_nano"], Family(), 7).state_dict()
    return saved({key: torch.zeros(()).expand(tensor.shape) for key, tensor in state.items()})


def test_a_network_may_have_another_number_of_classes_than_its_name(seven):
    assert twins.load("twins_svt_nano", seven)(torch.zeros(1, 3, 32, 32)).shape == (1, 7)


def test_what_is_served_under_a_published_name_needs_a_label_for_each_class(seven):
    with pytest.raises(twins.errors.LabelsError, match="13 labels were given for a network of 7 classes"):
        loading.load(ModelReference("twins_svt_nano", seven))


@pytest.mark.parametrize("key", ["blocks.1.1.attn.q.weight", "pos_block.2.proj.0.bias", "norm.weight"])
def test_a_missing_key_is_named(saved, tiny, key):
    assert f"{key} is missing" in refusal(saved({k: t for k, t in tiny.items() if k != key}))


@pytest.mark.parametrize("key", ["patch_embeds.2.proj.weight", "head.weight"])
def test_a_missing_key_that_shows_the_architecture_is_named(saved, tiny, key):
    assert key in refusal(saved({k: t for k, t in tiny.items() if k != key}))


def test_an_unexpected_key_is_named(saved, tiny):
    assert "blocks.3.0.attn.sr.bias is unexpected" in refusal(
        saved({**tiny, "blocks.3.0.attn.sr.bias": torch.ones(64)})
    )


def test_a_misshaped_parameter_is_named_with_both_shapes(saved, tiny):
    assert "norm.bias is (3,), not (64,)" in refusal(saved({**tiny, "norm.bias": torch.ones(3)}))


def test_a_long_list_of_wrong_keys_is_shortened(saved, tiny):
    assert "and 20 more" in refusal(saved({**tiny, **{f"extra.{i}": torch.ones(1) for i in range(26)}}))


def test_a_key_that_matches_no_rule_is_refused_by_name(saved, tiny):
    assert "has unknown keys: blocks.0.0.attn.bias_table" in refusal(
        saved({**tiny, "blocks.0.0.attn.bias_table": torch.ones(3)})
    )


def test_two_keys_for_one_parameter_are_refused_by_name(saved, tiny):
    assert "two keys of the file stand for one parameter: norm.weight" in refusal(
        saved({**tiny, "backbone.norm.weight": torch.ones(64)})
    )


def test_another_networks_checkpoint_is_shown_by_its_keys(saved):
    assert "layer1.0.conv1.weight" in refusal(saved({"layer1.0.conv1.weight": torch.ones(3)}))


def test_a_bare_backbone_is_refused(saved, tiny):
    assert "no known head" in refusal(saved({k: t for k, t in tiny.items() if not k.startswith("head.")}))


def test_widths_that_its_heads_do_not_divide_are_refused(saved):
    variant = dataclasses.replace(TINY_SVT, dims=(32, 32, 64, 100), heads=(1, 1, 2, 4))
    assert "100" in refusal(saved(checkpoints.seeded(variant, CLASSES)))


@pytest.mark.parametrize("key", ["patch_embeds.0.proj.weight", "head.weight", "blocks.0.1.attn.sr.weight", "norm.bias"])
@pytest.mark.parametrize("shape", [(), (0,), (0, 3, 4, 4)], ids=str)
@pytest.mark.filterwarnings("ignore")  # PyTorch's, on layers of no width
def test_parameters_of_impossible_shapes_are_refused(saved, tiny, key, shape):
    assert refusal(saved({**tiny, key: torch.zeros(shape)}))


def test_a_state_dict_of_numbers_is_refused(saved, tiny):
    assert refusal(saved({key: torch.tensor(1.0) for key in tiny}))


# files that are none


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"not weights\n" * 100,
        b"<!DOCTYPE html><html>Google Drive - Quota exceeded</html>",
        b"version https://git-lfs.github.com/reference/v1\noid sha256:00\nsize 9\n",
        b"PK\x03\x04" + bytes(100),
        b"\x80\x02]q\x00.",
        b"\x80\x02" + bytes(30),
        bytes(1000),
        struct.pack("<Q", 2**62) + b"{}",
    ],
    ids=["empty", "newline", "text", "html", "lfs-pointer", "zip", "list", "pickle", "zeros", "length"],
)
@pytest.mark.parametrize("suffix", [".pth", ".bin", ".safetensors", ""])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content, suffix):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    assert path.name in refusal(path)


@pytest.mark.parametrize("form", ["authors", "safetensors"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(tiny, tmp_path, form, share):
    path = checkpoints.WRITERS[form](tiny, tmp_path / "weights")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert path.name in refusal(path)


def test_a_missing_file_is_refused(tmp_path):
    assert "no such file" in refusal(tmp_path / "nowhere.pth")


def test_a_directory_is_refused(tmp_path):
    assert str(tmp_path) in refusal(tmp_path)


@pytest.mark.filterwarnings("ignore")  # TorchScript is deprecated
@pytest.mark.parametrize("tolerant", [False, True])
def test_a_torchscript_archive_is_refused(tmp_path, tolerant):
    torch.jit.script(torch.nn.Linear(1, 1)).save(tmp_path / "weights.pt")
    assert refusal(tmp_path / "weights.pt", tolerant=tolerant)


@pytest.mark.parametrize("content", [[1, 2], "text", 3, None, torch.ones(3), {}], ids=repr)
def test_a_file_of_something_else_is_refused(saved, content):
    assert refusal(saved(content))


def test_a_container_that_contains_itself_is_refused(saved):
    content = {}
    content["model"] = content
    assert refusal(saved(content))


def test_a_mapping_whose_methods_are_replaced_is_refused(saved, tiny):
    content = OrderedDict(model=tiny)
    content.get = 3
    assert "damaged" in refusal(saved(content))


@pytest.mark.parametrize(
    "metadata",
    [
        {"twins.family": "{"},
        {"twins.family": "[]"},
        {"twins.family": '{"colour": 1}'},
        {"twins.family": '{"edge": "sharp"}'},
        {"twins.family": '{"eps": "small"}'},
        {"twins.labels": "{"},
        {"twins.labels": "[1, 2]"},
        {"twins.labels": '"abcdefghijklm"'},
        {"twins.crop": "wide"},
        {"twins.crop": "0"},
        {"twins.crop": "nan"},
        {"twins.size": '"large"'},
        {"twins.size": "31"},
        {"twins.mean": "[0.5, 0.5]"},
        {"twins.mean": "[123.675, 116.28, 103.53]"},
        {"twins.mean": '["a", "b", "c"]'},
        {"twins.std": "[0, 1, 1]"},
        {"twins.std": "0.5"},
        {"twins.mean": f"[{10**400}, 0, 0]"},
        {"twins.default_crop": str(10**400)},
        {"twins.labels": "[" * 100_000},
    ],
    ids=lambda metadata: str(metadata)[:40],
)
def test_damaged_metadata_is_refused(tiny, tmp_path, metadata):
    save_file(tiny, tmp_path / "weights.safetensors", metadata)
    assert "metadata" in refusal(tmp_path / "weights.safetensors")


# code in files


class Command:
    """Run a command when it is unpickled by `pickle`."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.fixture(params=["zip", "legacy", "plain-pickle"])
def malicious(request, tiny, tmp_path):
    """Return a file with valid weights and a command, and the file that the command would create."""
    mark, path = tmp_path / "it-ran", tmp_path / "weights.pth"
    content = {"model": tiny, "args": Command(f"touch {mark}")}
    if request.param == "plain-pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=request.param == "zip")
    return path, mark


@pytest.mark.filterwarnings("ignore")  # PyTorch's, on plain pickles
@pytest.mark.parametrize("tolerant", [False, True])
def test_code_in_a_file_never_runs(malicious, tolerant):
    path, mark = malicious
    with suppress(CheckpointError):
        checkpoint.load(path, tolerant=tolerant)
    assert not mark.exists()


class Recorder:
    """A class of a user's training code."""

    def __init__(self):
        self.values = [1, 2, 3]


def test_an_unknown_class_is_rejected_with_advice(saved, tiny):
    message = refusal(saved({"model": tiny, "recorder": Recorder()}))
    assert "test_checkpoint.Recorder" in message
    assert "twins convert weights.pth weights.safetensors" in message


@pytest.mark.parametrize(
    "extra",
    [Recorder(), OrderedDict(a=Recorder()), {Recorder}, argparse.Namespace(a=Recorder()), [Recorder()] * 3],
    ids=["object", "mapping", "set", "namespace", "list"],
)
@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_tolerance_reads_the_weights_beside_unknown_classes(tmp_path, tiny, extra, new):
    torch.save({"model": tiny, "extra": extra}, tmp_path / "weights.pth", _use_new_zipfile_serialization=new)
    loaded = checkpoint.load(tmp_path / "weights.pth", tolerant=True)
    assert torch.equal(loaded.state["head.weight"], tiny["head.weight"])


# saving


@pytest.fixture
def converted(tiny, tmp_path):
    """Return a checkpoint with the behaviour of mmpretrain and with labels, written and read again."""
    original = checkpoint.load(checkpoints.mmpretrain(tiny, tmp_path / "weights"))
    names = tuple(f"flower {i}" for i in range(CLASSES))
    preprocessing = Preprocessing(112, 0.5, "bilinear", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    declared = dataclasses.replace(original.declared, labels=names, preprocessing=preprocessing)
    original = dataclasses.replace(original, declared=declared)
    checkpoint.save(original, tmp_path / "converted.safetensors")
    return original, checkpoint.load(tmp_path / "converted.safetensors")


@pytest.mark.parametrize("field", ["declared", "head", "variant", "classes"])
def test_saving_stores_what_the_keys_do_not_show(converted, field):
    original, again = converted
    assert getattr(again, field) == getattr(original, field)


def test_saving_keeps_every_weight(converted):
    original, again = converted
    assert all(torch.equal(again.state[key], tensor) for key, tensor in original.state.items())


def test_saving_in_half_precision_halves_the_file(converted, tmp_path):
    original, _ = converted
    checkpoint.save(original, tmp_path / "half.safetensors", half=True)
    assert {tensor.dtype for tensor in load_file(tmp_path / "half.safetensors").values()} == {torch.float16}


def test_whoever_may_read_a_new_file_may_read_the_saved_one(converted, tmp_path):
    (tmp_path / "new").touch()
    assert (tmp_path / "converted.safetensors").stat().st_mode == (tmp_path / "new").stat().st_mode


# chance


@pytest.fixture(scope="module")
def originals(tiny, tmp_path_factory):
    """Return a real file of each kind as bytes."""
    folder = tmp_path_factory.mktemp("originals")
    found = {form: checkpoints.WRITERS[form](tiny, folder / "weights").read_bytes() for form in checkpoints.WRITERS}
    legacy = io.BytesIO()
    torch.save({"model": tiny}, legacy, _use_new_zipfile_serialization=False)
    return {**found, "legacy": legacy.getvalue()}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("tolerant", [False, True])
@pytest.mark.parametrize("form", [*checkpoints.WRITERS, "legacy"])
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_damaged_file_loads_or_is_rejected(originals, tmp_path, form, tolerant, data):
    content = bytearray(originals[form])
    structure = st.one_of(st.integers(0, 3000), st.integers(len(content) - 3000, len(content) - 1))
    for at in data.draw(st.lists(structure, min_size=1, max_size=4)):
        content[at] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    path = tmp_path / ("weights.safetensors" if form == "safetensors" else "weights.pth")
    path.write_bytes(content)
    with suppress(CheckpointError):
        checkpoint.build(checkpoint.load(path, tolerant=tolerant))


@pytest.mark.parametrize("change", [{"shape": [2**40, 2**40]}, {"data_offsets": [0, 2**60]}, {"dtype": "F5"}], ids=str)
def test_a_wrong_safetensors_header_is_rejected(originals, tmp_path, change):
    content = originals["safetensors"]
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["head.weight"] |= change
    lie = json.dumps(header).encode()
    (tmp_path / "weights.safetensors").write_bytes(struct.pack("<Q", len(lie)) + lie + content[end:])
    assert refusal(tmp_path / "weights.safetensors")


# values


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_named(saved, tiny, value):
    broken = {**tiny, "norm.weight": torch.full_like(tiny["norm.weight"], value)}
    assert "not finite numbers, in norm.weight" in refusal(saved(broken))


STRANGE = {
    "sparse": lambda tensor: tensor.to_sparse(),
    "complex": lambda tensor: tensor.to(torch.complex64),
    "quantised": lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8),
    "hollow": lambda tensor: tensor.to("meta"),
}


@pytest.mark.parametrize("kind", STRANGE)
@pytest.mark.filterwarnings("ignore")
def test_a_tensor_of_another_kind_is_refused(saved, tiny, kind):
    refusal(saved({**tiny, "norm.weight": STRANGE[kind](tiny["norm.weight"])}))
