"""Networks on ONNX Runtime: the answers of PyTorch for every batch, size and input, and errors of the device."""

import numpy as np
import onnxruntime
import pytest

from tests import forward, segmentation
from twins.errors import DeviceMissing, DeviceOutOfMemory, NonFiniteOutput
from twins.runtime import exports
from twins.runtime.backend import device_errors
from twins.runtime.choice import open_backend
from twins.runtime.onnx import DEVICE_ERRORS, OnnxBackend
from twins.runtime.plan import Plan
from twins.runtime.torch import TorchBackend
from twins.tasks.sample import Sample
from twins.tasks.segment import SegmentParams
from twins.zoo.models import ModelReference

TOLERANCE = 1e-4
SAME_PIXELS = 0.999


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return ModelReference("tiny", segmentation.tiny(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def model(reference, tmp_path_factory):
    """The network, which is exported once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("exported")
        patch.setattr(exports, "exports_folder", lambda: folder)
        yield open_backend(Plan(backend="onnx")).load(reference)


@pytest.fixture(scope="module")
def torch_model(reference):
    return TorchBackend(Plan()).load(reference)


def images(count, size):
    random = np.random.default_rng(0)
    return [Sample(random.integers(0, 256, (*size, 3), np.uint8), SegmentParams()) for _ in range(count)]


@pytest.mark.parametrize(("count", "size"), [(1, (64, 96)), (3, (65, 97)), (2, (112, 112)), (1, (33, 40))], ids=str)
def test_the_masks_are_those_of_pytorch_for_every_batch_and_size(model, torch_model, count, size):
    given = images(count, size)
    for found, wanted in zip(model.run(given), torch_model.run(given), strict=True):
        assert (found.arrays[0] == wanted.arrays[0]).mean() >= SAME_PIXELS


def test_a_normalised_input_gives_the_logits_of_pytorch(model, torch_model):
    batch = np.random.default_rng(0).standard_normal((2, 3, 70, 64)).astype(np.float32)
    wanted = forward.logits(torch_model, batch)
    assert (forward.logits(model, batch) - wanted).abs().max() <= TOLERANCE * wanted.std()


def test_a_sample_whose_logits_are_not_finite_fails_alone(model):
    good, bad = np.zeros((3, 64, 64), np.float32), np.full((3, 64, 64), np.nan, np.float32)
    found = model.run([Sample(each, SegmentParams()) for each in (good, bad, good)])
    assert [isinstance(each, NonFiniteOutput) for each in found] == [False, True, False]


def test_too_little_memory_is_the_neutral_error():
    with pytest.raises(DeviceOutOfMemory), device_errors(DEVICE_ERRORS):
        raise RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : std::bad_alloc")


def test_a_device_without_a_provider_is_missing():
    with pytest.raises(DeviceMissing, match="onnxruntime-gpu"):
        OnnxBackend(Plan("cuda"))


@pytest.mark.usefixtures("model")  # so that nothing is exported
def test_a_session_that_falls_back_to_the_processor_is_an_error(reference, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    backend = OnnxBackend(Plan("cuda"))
    with pytest.raises(DeviceMissing, match="cannot use cuda"):
        backend.load(reference).warm_up(1)
