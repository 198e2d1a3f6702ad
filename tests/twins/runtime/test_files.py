"""Exported files, each opened with its own runtime alone: the logits of the reference, and what else is in the file."""

import json

import numpy as np
import pytest
import torch

from tests import segmentation
from tests.golden import cases, seeded
from twins.errors import BackendMissing, ExportFailed
from twins.preprocessing import parse_values
from twins.runtime import files
from twins.zoo.loading import load
from twins.zoo.models import DEFAULT_MODELS, ModelReference, parse_reference

GOLDEN_SCALE = {"mean": "0.5/0.5/0.5", "std": "0.25/0.25/0.25"}  # of `seeded.batch`
SIZES = [(1, 64, 96), (3, 33, 47), (2, 112, 112), (1, 128, 128)]


def run_onnx(path, pixels):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.get_modelmeta().custom_metadata_map
    return [session.run(["logits"], {"pixels": each})[0] for each in pixels], found


def run_openvino(path, pixels):
    import openvino

    model = openvino.Core().read_model(path)
    found = dict(model.get_rt_info(["twins"]).value)
    exact = {"INFERENCE_PRECISION_HINT": "f32"}  # else bfloat16 on the processors that have it
    program = openvino.compile_model(model, "CPU", {"CPU_RUNTIME_CACHE_CAPACITY": 0, **exact})
    return [program(each)["logits"].copy() for each in pixels], found


def run_torch_export(path, pixels):
    found = dict.fromkeys(("name", "task", "labels"), "")
    module = torch.export.load(path, extra_files=found).module()
    return [module(torch.from_numpy(each))[0].detach().numpy() for each in pixels], found


RUN = {"onnx": run_onnx, "openvino": run_openvino, "torch-export": run_torch_export}


def pixels_of(name, count, height, width):
    return np.stack([seeded.image(f"{name}/{i}", height, width) for i in range(count)])


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A segmentation network with few weights, and the images that it is asked about with its answers."""
    path = segmentation.tiny(tmp_path_factory.mktemp("tiny"))
    loaded = load(ModelReference("tiny", path, preprocessing=parse_values(GOLDEN_SCALE)))
    pixels = [pixels_of("image", *size) for size in SIZES]
    with torch.inference_mode():
        expected = [loaded.network(torch.from_numpy(seeded.batch("image", *size))).numpy() for size in SIZES]
    return loaded, pixels, expected


@pytest.mark.parametrize("name", RUN)
def test_a_file_gives_the_logits_of_its_network_for_every_batch_and_size(name, small, tmp_path):
    loaded, pixels, expected = small
    path = tmp_path / f"tiny{files.FORMATS[name].suffixes[0]}"
    exported = files.export(loaded, name, path)
    found, facts = RUN[name](path, pixels)
    for wanted, logits in zip(expected, found, strict=True):
        assert logits.shape == wanted.shape
        assert np.abs(logits - wanted).max() <= cases.TOLERANCE * wanted.std()
    assert facts["task"] == "segment"
    assert json.loads(facts["labels"]) == [label.name for label in loaded.card.labels]
    assert {check.batch for check in exported.checks} == {1, 3}
    assert [port.name for port in exported.ports] == ["pixels", "logits"]


WHOLE = ["openvino", *(pytest.param(name, marks=pytest.mark.heavy) for name in ("onnx", "torch-export"))]
"""The formats, for a whole network. The test above shows with a small one that the others keep its answers."""


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_gives_the_logits_of_the_reference(name, tmp_path):
    case = cases.read("timm-twins_svt_small")
    torch.save(case.state(), tmp_path / "weights.pth")
    reference = ModelReference("twins_svt_small", tmp_path / "weights.pth", preprocessing=parse_values(GOLDEN_SCALE))
    path = tmp_path / f"small{files.FORMATS[name].suffixes[0]}"
    files.export(load(reference), name, path)
    shapes = [(given["name"], given["count"], given["height"], given["width"]) for given in case.facts["inputs"]]
    found, _ = RUN[name](path, [pixels_of(*shape) for shape in shapes])
    for (_, *size), logits in zip(shapes, found, strict=True):
        case.assert_close("logits-" + "x".join(map(str, size)), torch.from_numpy(logits))


def test_a_classifier_has_its_features_as_a_second_output(tmp_path):
    loaded = load(parse_reference(DEFAULT_MODELS["classify"]))
    exported = files.export(loaded, "openvino", tmp_path / "nano.xml")
    assert [port.name for port in exported.ports] == ["pixels", "logits", "features"]


def test_a_file_that_differs_from_its_network_is_not_written(small, tmp_path, monkeypatch):
    loaded, *_ = small
    original = files.difference
    monkeypatch.setattr(
        files, "difference", lambda wanted, found, size: original({"logits": wanted["logits"] + 1}, found, size)
    )
    with pytest.raises(ExportFailed, match="nothing was written"):
        files.export(loaded, "openvino", tmp_path / "tiny.xml")
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_an_error_that_names_the_extra(monkeypatch):
    original = files.importlib.util.find_spec
    monkeypatch.setattr(
        files.importlib.util, "find_spec", lambda name: None if name == "onnxscript" else original(name)
    )
    with pytest.raises(BackendMissing, match=r"needs onnxscript; .*twins-serving\[onnx\]"):
        files.check_installed("onnx")
