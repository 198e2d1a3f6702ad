"""The public functions of `twins`."""

import subprocess
import sys

import pytest
import torch

import twins
from tests import detection
from twins.errors import UnknownModel
from twins.network.detections import Detections, Selection


@pytest.fixture(scope="module")
def nano():
    return twins.load("twins_svt_nano")


def test_importing_the_package_does_not_import_torch():
    code = "import sys, twins; twins.list_models(); print([m for m in ('torch', 'PIL', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_public_names_are_three():
    assert twins.__all__ == ["list_models", "load", "preprocess"]


def test_a_model_that_ships_loads_by_its_name(nano):
    assert nano(torch.zeros(2, 3, 112, 112)).shape == (2, 13)


def test_a_loaded_network_is_in_eval_mode(nano):
    assert not any(module.training for module in nano.modules())


def test_a_loaded_network_requires_no_gradients(nano):
    assert not any(parameter.requires_grad for parameter in nano.parameters())


def test_the_default_precision_is_float32(nano):
    assert {parameter.dtype for parameter in nano.parameters()} == {torch.float32}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_dtype_applies_to_every_parameter(dtype):
    assert {parameter.dtype for parameter in twins.load("twins_svt_nano", dtype=dtype).parameters()} == {dtype}


@pytest.mark.parametrize("device", ["cpu", "meta", torch.device("cpu")], ids=repr)
def test_device_applies_to_every_parameter(device):
    network = twins.load("twins_svt_nano", device=device)
    assert {parameter.device for parameter in network.parameters()} == {torch.device(device)}


def test_a_name_can_be_given_with_a_file(tmp_path):
    with pytest.raises(twins.errors.CheckpointError, match="no such file"):
        twins.load(f"twins_svt_base={tmp_path}/nowhere.pth")


def test_an_unknown_name_without_a_file_is_rejected():
    with pytest.raises(UnknownModel, match="did you mean twins_svt_base"):
        twins.load("twin_svt_base")


def test_a_checkpoint_can_be_given_as_a_string(tmp_path, nano):
    torch.save(nano.state_dict(), tmp_path / "own.pth")
    assert torch.equal(twins.load("own", str(tmp_path / "own.pth")).head.weight, nano.head.weight)


@pytest.mark.parametrize("name", ["twins_svt_nano", "twins_svt_nano_fpn", "detector"])
def test_the_features_of_any_model_are_four_maps(name, tmp_path):
    checkpoint = detection.tiny(tmp_path) if name == "detector" else None
    network = twins.load(name, checkpoint, features=True)
    with torch.inference_mode():
        maps = network(torch.zeros(2, 3, 96, 128))
    assert [tuple(each.shape[2:]) for each in maps] == [(24, 32), (12, 16), (6, 8), (3, 4)]
    assert all(len(each) == 2 for each in maps)


def test_a_detector_returns_typed_detections(tmp_path):
    network = twins.load("tiny", detection.tiny(tmp_path))
    with torch.inference_mode():
        predictions = network(torch.zeros(2, 3, 96, 128))
        usual = predictions.detections()
        few = predictions.detections([Selection((96, 128), limit=3, masks=False)] * 2)
    assert [type(each) for each in usual] == [Detections, Detections]
    assert usual[0].masks.shape == (len(usual[0].scores), 28, 28)
    assert (len(few[0].boxes), few[0].masks) == (3, None)
