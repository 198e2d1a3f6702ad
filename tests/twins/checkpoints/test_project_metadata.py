"""Preprocessing that the checkpoints of other projects declare, in their files or beside them."""

import json

import pytest
import torch
from safetensors.torch import save_file

from tests import checkpoints
from tests.checkpoints import TINY_SVT
from twins.card import Normalisation
from twins.checkpoints import checkpoint
from twins.errors import CheckpointError
from twins.network.heads.classify import Classifier
from twins.network.variants import VARIANTS, Family
from twins.zoo.loading import load
from twins.zoo.models import ModelReference

CLASSES = 5
OWN = Normalisation((0.5, 0.25, 0.125), (0.2, 0.4, 0.6))
ON_255 = "mean=[127.5, 63.75, 31.875], std=[51.0, 102.0, 153.0]"

NEWER = f"""
dataset_type = 'Flowers'
data_preprocessor = dict(
    type='ClsDataPreprocessor', num_classes=5, {ON_255}, to_rgb=True, batch_augments=build())
model = dict(type='ImageClassifier', data_preprocessor=data_preprocessor)
"""
NESTED = f"model = dict(type='EncoderDecoder', data_preprocessor=dict({ON_255}, bgr_to_rgb=True, size=(512, 512)))"
OLDER = f"img_norm_cfg = dict({ON_255}, to_rgb=True)\ntrain_pipeline = [dict(type='Normalize', **img_norm_cfg)]"
LITERAL = "data_preprocessor = {'mean': [127.5, 63.75, 31.875], 'std': [51, 102, 153], 'bgr_to_rgb': True}"


@pytest.fixture
def tiny():
    return checkpoints.seeded(TINY_SVT, CLASSES)


def card(path):
    return load(ModelReference("flowers", path)).card


def openmmlab(state, path, meta, **beside):
    renamed = {checkpoints.mmpretrain_name(key): tensor for key, tensor in state.items()}
    torch.save({"meta": meta, "state_dict": {**renamed, **beside}}, path)
    return path


@pytest.mark.parametrize("config", [NEWER, NESTED, OLDER, LITERAL], ids=["1.x", "nested", "0.x", "literal"])
@pytest.mark.parametrize("key", ["cfg", "config"])
def test_mean_and_deviation_in_openmmlabs_configuration_are_used(tiny, tmp_path, config, key):
    found = card(openmmlab(tiny, tmp_path / "weights.pth", {key: config}))
    assert found.normalisation == OWN
    assert (found.sources.mean, found.sources.std, found.sources.size) == ("checkpoint", "checkpoint", "default")


def test_mean_and_deviation_in_openmmlabs_buffers_are_used(tiny, tmp_path):
    buffers = {"mean": torch.tensor([127.5, 63.75, 31.875]), "std": torch.tensor([51.0, 102, 153])}
    beside = {f"data_preprocessor.{name}": value.view(3, 1, 1) for name, value in buffers.items()}
    assert card(openmmlab(tiny, tmp_path / "weights.pth", {}, **beside)).normalisation == OWN


class Preprocessor(torch.nn.Module):
    """OpenMMLab's, whose buffers are not in a state dict."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([127.5, 63.75, 31.875]).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([51.0, 102, 153]).view(3, 1, 1), persistent=False)


def test_mean_and_deviation_in_a_pickled_model_are_used(tmp_path):
    network = Classifier(TINY_SVT, Family(), CLASSES)
    network.data_preprocessor = Preprocessor()
    torch.save(network, tmp_path / "model.pth")
    found = checkpoint.load(tmp_path / "model.pth", tolerant=True).declared.preprocessing
    assert Normalisation(found.mean, found.std) == OWN


def test_a_network_on_bgr_images_is_refused(tiny, tmp_path):
    path = openmmlab(tiny, tmp_path / "weights.pth", {"cfg": NESTED.replace("True", "False")})
    with pytest.raises(CheckpointError, match="takes BGR images, which is not supported"):
        card(path)


@pytest.mark.parametrize(
    "config",
    [
        "data_preprocessor = dict(",
        "data_preprocessor = open('x')",
        "x = 1",
        "(" * 5000,
        "data_preprocessor = dict(a=1)",
    ],
    ids=["syntax", "call", "nothing", "nested", "no mean"],
)
def test_a_configuration_without_literal_values_leaves_the_defaults(tiny, tmp_path, config):
    found = card(openmmlab(tiny, tmp_path / "weights.pth", {"cfg": config}))
    assert (found.normalisation, found.sources.mean) == (Normalisation(), "default")


def test_a_configuration_is_never_run(tiny, tmp_path):
    write = f"open({str(tmp_path / 'it-ran')!r}, 'w')"
    config = f"{write}\n{NEWER.replace('build()', write)}"
    assert card(openmmlab(tiny, tmp_path / "weights.pth", {"cfg": config})).normalisation == OWN
    assert not (tmp_path / "it-ran").exists()


# timm


VALUES = {
    "input_size": [3, 256, 256],
    "crop_pct": 0.95,
    "interpolation": "bilinear",
    "mean": [0.5, 0.25, 0.125],
    "std": [0.2, 0.4, 0.6],
    "num_classes": 5,
}


@pytest.fixture
def folder(tmp_path):
    """A folder as timm writes it to the hub; returns what writes its configuration."""
    state = checkpoints.hollow(Classifier(VARIANTS["svt_nano"], Family(), CLASSES).state_dict())
    torch.save(state, tmp_path / "pytorch_model.bin")

    def write(config):
        (tmp_path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
        return tmp_path / "pytorch_model.bin"

    return write


@pytest.mark.parametrize(
    "config",
    [{"architecture": "twins_svt_nano", "pretrained_cfg": VALUES}, {"architecture": "twins_svt_nano", **VALUES}],
    ids=["new", "old"],
)
def test_timms_configuration_beside_the_weights_is_used(folder, config):
    found = card(folder(config))
    assert (found.geometry.crop, found.geometry.short_side, found.geometry.interpolation) == (256, 269, "bilinear")
    assert found.normalisation == OWN
    assert set(vars(found.sources).values()) == {"checkpoint"}


@pytest.mark.parametrize(
    "config",
    [{"architecture": "resnet50", "pretrained_cfg": VALUES}, {"model_type": "vit"}, [1], {"architecture": 5}],
    ids=["other architecture", "other program", "list", "number"],
)
def test_a_configuration_of_something_else_is_ignored(folder, config):
    assert set(vars(card(folder(config)).sources).values()) == {"default"}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"input_size": [3, 224, 256]}, "the input is not square"),
        ({"crop_mode": "squash"}, "crop mode 'squash' is not supported"),
        ({"crop_pct": 1.5}, "crop is 1.5"),
        ({"mean": 0.5}, "three numbers"),
        ({"input_size": 224}, "config.json is wrong"),
        ({"mean": [10**400, 0, 0]}, "config.json is wrong"),
    ],
)
def test_a_configuration_that_cannot_be_followed_is_refused(folder, values, words):
    path = folder({"architecture": "twins_svt_nano", "pretrained_cfg": {**VALUES, **values}})
    with pytest.raises(CheckpointError, match=words):
        card(path)


def test_a_configuration_with_a_list_for_its_values_is_refused(folder):
    with pytest.raises(CheckpointError, match=r"config\.json is wrong"):
        card(folder({"architecture": "twins_svt_nano", "pretrained_cfg": []}))


@pytest.mark.parametrize(
    "meta",
    [
        {"dataset_meta": {"classes": torch.ones(2)}},
        {"cfg": f"img_norm_cfg = dict(mean=[{10**400}, 0, 0], std=[1, 1, 1])"},
    ],
    ids=["classes", "configuration"],
)
def test_metadata_of_impossible_values_are_refused(tiny, tmp_path, meta):
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(openmmlab(tiny, tmp_path / "weights.pth", meta))


def test_a_damaged_configuration_is_refused(folder):
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read"):
        card(folder("{"))


def test_the_values_in_a_file_come_before_those_beside_it(tmp_path, folder):
    path = folder({"architecture": "twins_svt_nano", "pretrained_cfg": VALUES})
    state = {key: tensor.contiguous() for key, tensor in torch.load(path).items()}
    save_file(state, tmp_path / "own.safetensors", {"twins.size": "64"})
    assert card(tmp_path / "own.safetensors").geometry.crop == 64
