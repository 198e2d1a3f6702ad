"""The code around TensorRT, with a library that computes on the CPU: engines, their cache, batches and errors."""

import importlib
import sys

import numpy as np
import pytest
import torch

from tests import fake_tensorrt, segmentation
from twins.card import MIN_SIDE
from twins.errors import DeviceLost, DeviceOutOfMemory, ExportFailed
from twins.runtime import exports, onnx_graph
from twins.runtime.plan import Plan
from twins.runtime.torch import TorchBackend
from twins.tasks.sample import Sample
from twins.tasks.segment import SegmentParams
from twins.zoo.models import ModelReference

SAME_PIXELS = 0.99
MOST = 8  # images of a batch of a segmentation model on a GPU


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return ModelReference("tiny", segmentation.tiny(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def tensorrt(tmp_path_factory):
    """Return the module under test. Its library and its GPU are replaced, and a network is converted only once."""
    name, converted = "twins.runtime.tensorrt", {}
    original = onnx_graph.convert

    def convert_once(network, outputs):
        if tuple(outputs) not in converted:
            converted[tuple(outputs)] = original(network, outputs)
        return converted[tuple(outputs)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "tensorrt", fake_tensorrt.module())
        module = importlib.import_module(name)
        folder = tmp_path_factory.mktemp("exported")
        patch.setattr(exports, "exports_folder", lambda: folder)
        patch.setattr(onnx_graph, "convert", convert_once)
        patch.setattr(module, "current_stream", lambda _: fake_tensorrt.STREAM)
        patch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU")
        yield module
    del sys.modules[name]


@pytest.fixture(scope="module")
def model(tensorrt, reference):
    return tensorrt.TensorRtBackend(Plan(backend="tensorrt")).load(reference)


def images(count, size=(64, 96)):
    random = np.random.default_rng(0)
    return [Sample(random.integers(0, 256, (*size, 3), np.uint8), SegmentParams()) for _ in range(count)]


@pytest.mark.parametrize(("count", "size"), [(1, (64, 96)), (3, (65, 97)), (MOST, (33, 40))], ids=str)
def test_the_masks_are_those_of_pytorch_in_half_precision(model, reference, count, size):
    given = images(count, size)
    for found, wanted in zip(model.run(given), TorchBackend(Plan()).load(reference).run(given), strict=True):
        assert (found.arrays[0] == wanted.arrays[0]).mean() >= SAME_PIXELS


def test_auto_computes_in_half_precision(model):
    types = {each.data_type for each in onnx_graph.onnx.load_from_string(model.network.engine.graph).graph.initializer}
    assert onnx_graph.TensorProto.FLOAT16 in types


def test_a_second_start_uses_the_stored_engine(tensorrt, model, reference):
    built = fake_tensorrt.Builder.built
    tensorrt.TensorRtBackend(Plan(backend="tensorrt")).load(reference)
    assert fake_tensorrt.Builder.built == built


@pytest.mark.parametrize("change", ["GPU", "version", "precision"])
def test_another_gpu_version_or_precision_needs_another_engine(tensorrt, model, reference, change, monkeypatch):
    if change == "GPU":
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "another GPU")
    if change == "version":
        monkeypatch.setattr(tensorrt.trt, "__version__", "11.1")
    built = fake_tensorrt.Builder.built
    precision = "float32" if change == "precision" else "auto"
    tensorrt.TensorRtBackend(Plan(backend="tensorrt", precision=precision)).load(reference)
    assert fake_tensorrt.Builder.built == built + 1


@pytest.mark.parametrize("given", [images(MOST + 1), images(1, (32, 4096))], ids=["batch", "size"])
def test_a_batch_outside_the_profile_is_too_large(model, given):
    with pytest.raises(DeviceOutOfMemory, match="not built for a batch"):
        model.run(given)


def test_a_batch_that_cannot_run_loses_the_device(model, monkeypatch):
    monkeypatch.setattr(fake_tensorrt.Context, "fault", "an illegal address")
    with pytest.raises(DeviceLost):
        model.run(images(1))


def test_an_engine_that_cannot_be_built_is_an_error_with_the_reason(tensorrt, reference, monkeypatch):
    monkeypatch.setattr(fake_tensorrt.Builder, "fault", "no kernel for this GPU")
    monkeypatch.setattr(tensorrt.trt, "__version__", "0")
    with pytest.raises(ExportFailed, match="no kernel for this GPU"):
        tensorrt.TensorRtBackend(Plan(backend="tensorrt")).load(reference)


def test_an_engine_for_images_of_many_sizes_takes_all_to_which_they_are_resized(tensorrt, model):
    profile = tensorrt.profile_of(model.card)
    assert profile.smallest == (1, 3, MIN_SIDE, MIN_SIDE)
    assert profile.usual == (MOST, 3, *model.card.geometry.usual_size)
    assert profile.largest[2] == profile.largest[3] == model.card.geometry.long_side
