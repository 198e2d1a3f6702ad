"""`twins export` as its users and their scripts meet it: the file, the printed check, and the refusals."""

import importlib.util
import json

import pytest

from tests.end_to_end.test_cli import MODEL, USAGE, printed, refused
from twins.runtime import files

NANO = "twins_svt_nano"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Return a file of OpenVINO that the command wrote, and what it printed."""
    path = tmp_path_factory.mktemp("exported") / "nano.xml"
    return path, printed("export", NANO, "--to", "openvino", path)


def test_an_export_says_what_is_in_the_file_and_how_it_was_checked(exported):
    path, shown = exported
    assert f"{path}: OpenVINO" in shown
    for name, *rest in (("pixels", "input"), ("logits", "output"), ("features", "output"), ("3", "112 × 112")):
        assert [
            line for line in shown.splitlines() if line.split()[:1] == [name] and all(word in line for word in rest)
        ]
    assert "of the deviation" in shown
    assert "100.00%" in shown


def test_an_export_leaves_only_the_file_and_its_weights(exported):
    path, _ = exported
    assert sorted(each.name for each in path.parent.iterdir()) == ["nano.bin", "nano.xml"]


def test_an_export_overwrites_with_the_flag_force_and_prints_json_for_programs(exported):
    path, _ = exported
    before = path.stat().st_ino
    found = json.loads(printed("export", NANO, "--to", "openvino", path, "--force", "--json"))
    assert path.stat().st_ino != before
    assert found["path"] == str(path)
    assert [port["name"] for port in found["ports"]] == ["pixels", "logits", "features"]
    assert all(check["difference"] <= files.TOLERANCE and check["agreement"] == 1 for check in found["checks"])


def test_an_export_does_not_overwrite(exported):
    path, _ = exported
    assert "--force overwrites it" in refused(USAGE, "export", NANO, "--to", "openvino", path)


@pytest.mark.parametrize(
    ("name", "file", "code", "hint"),
    [
        (NANO, "nano.onnx", USAGE, "its name must end in .xml"),
        (NANO, "nowhere/nano.xml", USAGE, "no such folder"),
        ("twins_svt_nanno", "nano.xml", MODEL, "did you mean twins_svt_nano?"),
    ],
)
def test_a_mistake_in_an_export_has_its_exit_code_and_its_remedy(tmp_path, name, file, code, hint):
    assert hint in refused(code, "export", name, "--to", "openvino", tmp_path / file)
    assert not list(tmp_path.iterdir())


def test_an_export_without_the_packages_of_its_format_names_the_extra(tmp_path, monkeypatch):
    original = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else original(name))
    said = refused(USAGE, "export", NANO, "--to", "onnx", tmp_path / "nano.onnx")
    assert "pip install 'twins-serving[onnx]'" in said


def test_an_export_does_not_overwrite_a_file_that_it_would_write_beside_the_named_one(tmp_path):
    (tmp_path / "nano.bin").write_bytes(b"something else")
    said = refused(USAGE, "export", NANO, "--to", "openvino", tmp_path / "nano.xml")
    assert f"{tmp_path / 'nano.bin'} exists" in said
    assert (tmp_path / "nano.bin").read_bytes() == b"something else"


def test_an_export_never_overwrites_its_own_checkpoint(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"weights")
    own = f"mine={tmp_path / 'model.bin'}"
    assert "is the checkpoint" in refused(USAGE, "export", own, "--to", "openvino", tmp_path / "model.xml", "--force")


@pytest.mark.parametrize(("format_", "file"), [("onnx", "a.onnx"), ("openvino", "a.xml"), ("torch-export", "a.pt2")])
def test_a_detector_is_not_exported(tmp_path, detector, format_, file):
    assert "a detector runs on PyTorch alone" in refused(USAGE, "export", detector, "--to", format_, tmp_path / file)
