"""Files that `torch.save(model)` wrote: their weights are taken from the objects without running any code."""

import importlib
import io
import os
import sys
import tracemalloc

import pytest
import torch

from tests import checkpoints
from tests.checkpoints import TINY_SVT
from twins.checkpoints import checkpoint, inert
from twins.errors import CheckpointError
from twins.network.heads.classify import Classifier
from twins.network.variants import Family

CLASSES = 7

FOREIGN = """
import pathlib
from twins.network.heads.classify import Classifier
pathlib.Path({mark!r}).touch()

class Network(Classifier):
    def __setstate__(self, state):
        pathlib.Path({mark!r}).touch()
        super().__setstate__(state)
"""


@pytest.fixture
def network():
    built = Classifier(TINY_SVT, Family(), CLASSES)
    built.load_state_dict(checkpoints.seeded(TINY_SVT, CLASSES))
    return built


@pytest.fixture(params=[True, False], ids=["zip", "legacy"])
def save(request, tmp_path):
    """Saves anything as a .pth file, in PyTorch's new or old format."""

    def write(content):
        torch.save(content, tmp_path / "model.pth", _use_new_zipfile_serialization=request.param)
        return tmp_path / "model.pth"

    return write


def assert_same_weights(found, network):
    expected = network.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in found.items())


def test_the_weights_of_a_pickled_model_are_read(save, network, recwarn):
    assert_same_weights(checkpoint.load(save(network), tolerant=True).state, network)
    assert not [warning for warning in recwarn if "source code" in str(warning.message)]


@pytest.mark.parametrize("key", ["model", "model_ema", "state_dict"])
def test_a_pickled_model_in_a_container_is_read(save, network, key):
    assert_same_weights(checkpoint.load(save({"epoch": 3, key: network}), tolerant=True).state, network)


def test_a_pickled_wrapper_is_read(save, network):
    wrapped = torch.nn.DataParallel(network)
    assert_same_weights(checkpoint.load(save(wrapped), tolerant=True).state, network)


def test_a_parameter_with_attributes_keeps_its_values(save, network):
    network.head.weight.no_weight_decay = True
    assert_same_weights(checkpoint.load(save(network), tolerant=True).state, network)


def test_buffers_that_a_state_dict_leaves_out_are_left_out(save, network):
    network.register_buffer("cache", torch.ones(3), persistent=False)
    assert_same_weights(checkpoint.load(save(network), tolerant=True).state, network)


def test_a_model_that_contains_itself_is_read_once(save, network):
    keys = network.state_dict().keys()
    network._modules["again"] = network
    assert checkpoint.load(save(network), tolerant=True).state.keys() == keys


def test_a_pickled_model_is_refused_with_the_command_that_reads_it(save, network):
    with pytest.raises(CheckpointError, match=r"Classifier, .*`twins convert model\.pth model\.safetensors`"):
        checkpoint.load(save(network))


class Recorder:
    """An object without weights."""

    def __init__(self):
        self.values = [1, 2]


def test_an_object_without_weights_is_refused_without_a_command_that_would_fail(save):
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(save(Recorder()))
    assert "Recorder without weights" in str(caught.value)
    assert "twins convert" not in str(caught.value)


class Command:
    """Runs a command when it is unpickled the ordinary way."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("tolerant", [True, False])
@pytest.mark.parametrize("place", ["attribute", "parameter", "module"])
def test_a_command_in_a_pickled_model_never_runs(save, network, tmp_path, place, tolerant):
    command = Command(f"touch {tmp_path / 'it-ran'}")
    if place == "attribute":
        network.extra = command
    else:
        (network._parameters if place == "parameter" else network._modules)["extra"] = command
    path = save(network)
    if tolerant:
        assert checkpoint.load(path, tolerant=True).classes == CLASSES
    else:
        with pytest.raises(CheckpointError):
            checkpoint.load(path)
    assert not (tmp_path / "it-ran").exists()


def test_a_few_bytes_cannot_demand_memory():
    """In the memo of the unpickler in C, this index would take 256 MB."""
    tracemalloc.start()
    content = inert.load(io.BytesIO(b"\x80\x02}r\x00\x00\x00\x01."))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert content == {}
    assert peak < 2**20


def test_the_module_of_a_pickled_models_class_is_never_imported(save, tmp_path, monkeypatch):
    mark = tmp_path / "it-ran"
    (tmp_path / "foreign_network.py").write_text(FOREIGN.format(mark=str(mark)))
    monkeypatch.syspath_prepend(tmp_path)
    path = save(importlib.import_module("foreign_network").Network(TINY_SVT, Family(), CLASSES))
    del sys.modules["foreign_network"]
    mark.unlink()
    assert checkpoint.load(path, tolerant=True).classes == CLASSES
    assert "foreign_network" not in sys.modules
    assert not mark.exists()
