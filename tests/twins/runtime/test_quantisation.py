"""Networks in eight bits: their answers, what they are quantised with, and that nobody gets them without asking."""

import subprocess
import sys
from importlib import util

import numpy as np
import pytest

from tests import calibration
from twins.errors import BackendMissing, BadOption, DatasetError
from twins.runtime import exports
from twins.runtime.calibration import Calibration
from twins.runtime.choice import LIBRARIES, choose_backend
from twins.runtime.openvino import OpenVinoBackend
from twins.runtime.plan import Plan
from twins.runtime.quantisation import Int8Format
from twins.tasks.classify import ClassifyParams
from twins.tasks.sample import Sample
from twins.zoo import downloads
from twins.zoo.models import DEFAULT_MODELS, parse_reference

NANO = parse_reference(DEFAULT_MODELS["classify"])


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return calibration.folder(tmp_path_factory.mktemp("images") / "all")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A folder for exported networks, so that no earlier test has quantised the model."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("exported")
        patch.setattr(exports, "exports_folder", lambda: folder)
        yield folder


@pytest.fixture(scope="module")
def nano(images, exported):
    return OpenVinoBackend(Plan(precision="int8", calibration=images)).load(NANO)


@pytest.fixture(scope="module")
def float_nano(exported):
    return OpenVinoBackend(Plan()).load(NANO)


def by_class(outputs):
    """Scores in the order of the class ids."""
    return np.stack([output.arrays[1][np.argsort(output.arrays[0])] for output in outputs])


def test_the_best_class_in_eight_bits_is_that_in_float(nano, float_nano, tmp_path):
    others = Calibration(calibration.folder(tmp_path / "others", seed=1), float_nano.card)
    samples = [Sample(pixels, ClassifyParams()) for pixels in others.pixels()]
    found, expected = by_class(nano.run(samples)), by_class(float_nano.run(samples))
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.8
    assert np.abs(found - expected).max() > 1e-5  # it is not the network in float


def test_a_quantised_model_says_so(nano, float_nano):
    assert (nano.card.precision, float_nano.card.precision) == ("int8", "float")


def test_a_network_is_quantised_once_for_the_same_images(nano, images, monkeypatch):
    def fail(*_):
        raise AssertionError("it was exported again")

    monkeypatch.setattr(Int8Format, "export", fail)
    assert OpenVinoBackend(Plan(precision="int8", calibration=images)).load(NANO).card.precision == "int8"


def test_other_images_quantise_again(float_nano, images, tmp_path):
    others = calibration.folder(tmp_path / "others", seed=1)
    assert Calibration(others, float_nano.card).digest != Calibration(images, float_nano.card).digest


def test_files_that_are_no_images_are_left_out(float_nano, tmp_path):
    folder = calibration.folder(tmp_path / "some")
    (folder / "0.png").write_bytes(b"no image")
    assert len(Calibration(folder, float_nano.card).pixels()) == calibration.COUNT - 1


def test_a_folder_without_images_is_an_error(float_nano, tmp_path):
    with pytest.raises(DatasetError, match="no images"):
        Calibration(tmp_path, float_nano.card).pixels()


def test_eight_bits_without_images_are_an_error_that_says_what_to_give():
    with pytest.raises(BadOption, match="--calibration FOLDER"):
        choose_backend(Plan(precision="int8"))


def test_eight_bits_without_the_library_are_an_error_that_names_the_extra(images, monkeypatch):
    original = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: None if name == "nncf" else original(name))
    with pytest.raises(BackendMissing, match=r"pip install 'twins-serving\[quantize\]'"):
        choose_backend(Plan(precision="int8", calibration=images))


def test_only_openvino_on_a_processor_computes_in_eight_bits(images):
    plan = Plan(precision="int8", calibration=images)
    assert choose_backend(plan) == "openvino"
    assert [name for name, library in LIBRARIES.items() if "int8" in library.precisions] == ["openvino"]
    with pytest.raises(BackendMissing, match="--device cpu"):
        choose_backend(Plan("cuda", precision="int8", calibration=images))


def test_a_calibration_alone_does_not_quantise(images, exported):
    assert OpenVinoBackend(Plan(calibration=images)).load(NANO).card.precision == "float"


def test_nncf_reports_nothing_to_its_makers():
    """NNCF sends events by the package `openvino_telemetry` if it finds it."""
    code = "import sys, twins.runtime.quantisation, nncf; print('openvino_telemetry.main' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False"]


def test_an_image_that_cannot_be_read_is_left_out(images, nano, monkeypatch):
    found = Calibration(images, nano.card)
    unreadable, read = found.files[0], downloads.digest

    def digest(file):
        if file == unreadable:
            raise PermissionError(13, "Permission denied")
        return read(file)

    monkeypatch.setattr(downloads, "digest", digest)
    assert len(found.digest) == 32
