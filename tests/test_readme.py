"""Run the Python and the commands of this project in README and in the pages of `docs/`, against a real service."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click import Context
from click.testing import CliRunner
from PIL import Image

from service.cli.evaluate import evaluate
from service.cli.main import twins
from service.cli.serve import serve
from service.processes.models import parse_references
from service.setting_sources import load
from tests import detection, segmentation
from tests.forward import LONG
from tests.server import Server
from tests.shell import COMMANDS, PROGRAMS, addressed, each, kind
from tools.documents import ROOT, Example, examples
from twins.checkpoints import checkpoint
from twins.runtime.inputs import card_for, open_image
from twins.tasks.classify import CLASSIFY
from twins.zoo.models import parse_reference

CLIENT = ROOT / "client" / "README.md"
PYTHON = [
    example
    for example in [*each("python", "text"), *examples(CLIENT, "python", "text")]
    if "\nimport twins_pb2\n" not in example.text
]
FILE_USERS = each("py", "")
KINDS = {
    "make",
    "pip",
    "docker",
    "stubs",
    "download",
    *PROGRAMS,
    *(f"twins {name}" for name in twins.list_commands(Context(twins))),
}
"""The commands that tests run: those that call a service in tests/test_shell.py, the containers in tests/container."""


@pytest.fixture(scope="module")
def city(tmp_path_factory) -> Path:
    """Return a folder with a user's checkpoints for segmentation and for detection, and their labels."""
    folder = tmp_path_factory.mktemp("city")
    segmentation.tiny(folder).rename(folder / "city.pth")
    (folder / "city.txt").write_text("road\nbuilding\ntree\nperson\ncar\n")
    detection.tiny(folder).rename(folder / "street.safetensors")
    (folder / "street.txt").write_text("person\ncar\nbus\n")
    return folder


@pytest.fixture(scope="module")
def server():
    with Server() as running:
        yield running


def test_every_command_is_of_a_kind_that_is_tested():
    assert set(map(kind, COMMANDS)) <= KINDS


@pytest.mark.parametrize("example", PYTHON, ids=lambda e: e.text.split()[1])
def test_python_prints_what_is_shown(example: Example, server):
    code = [sys.executable, "-c", addressed(example.text, server)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "client")}
    ran = subprocess.run(code, cwd=ROOT, env=environ, check=True, capture_output=True, text=True)
    assert ran.stdout == example.expected


@pytest.mark.parametrize("command", [c for c in COMMANDS if kind(c) == "make"])
def test_make_has_the_target(command):
    _, target = command.split()
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("command", [c for c in COMMANDS if kind(c) == "twins serve"])
def test_serve_takes_the_flags(command):
    flags = serve.make_context("serve", shlex.split(command)[2:]).params
    settings = load({name: value for name, value in flags.items() if value not in (None, ())}, environ={})
    assert parse_references(settings)


@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if kind(c) in ("twins classify", "twins models", "twins pull", "twins version")]
)
def test_a_command_does_its_work(command):
    ran = CliRunner().invoke(twins, shlex.split(command)[1:])
    assert ran.exit_code == 0
    assert ran.output.strip()


@pytest.mark.parametrize("command", [c for c in COMMANDS if kind(c) == "twins segment"])
def test_segment_writes_an_image_of_the_original_size(command, city, monkeypatch):
    shutil.copytree(ROOT / "examples", city / "examples", dirs_exist_ok=True)
    monkeypatch.chdir(city)
    ran = CliRunner().invoke(twins, shlex.split(command)[1:])
    assert ran.exit_code == 0, ran.output
    assert ("road" if "city" in command else "cat") in ran.output
    assert Image.open(city / "masks" / "cat.png").size == (451, 300)


@pytest.mark.parametrize("command", [c for c in COMMANDS if kind(c) == "twins detect"])
def test_detect_prints_objects_and_writes_images(command, city, monkeypatch):
    shutil.copytree(ROOT / "examples", city / "examples", dirs_exist_ok=True)
    monkeypatch.chdir(city)
    ran = CliRunner().invoke(twins, shlex.split(command)[1:])
    assert ran.exit_code == 0, ran.output
    assert re.search(r"person|car|bus|cat", ran.output)
    if "--output" in command:
        assert Image.open(city / "found" / "cat.png").size == (451, 300)


def exports() -> list:
    """Return each command that exports a model, as a parameter; a conversion to ONNX takes half a minute."""
    found = [command for command in COMMANDS if kind(command) == "twins export"]
    return [pytest.param(each, marks=LONG if "--to onnx" in each else []) for each in found]


@pytest.mark.parametrize("command", exports())
def test_an_exported_file_gives_the_answer_of_its_model_as_shown(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = CliRunner().invoke(twins, shlex.split(command)[1:])
    assert ran.exit_code == 0, ran.output
    name, file = shlex.split(command)[2], shlex.split(command)[-1]
    (example,) = (each for each in FILE_USERS if f'"{file}"' in each.text)
    card = card_for(parse_reference(name))
    image = open_image(ROOT / "examples" / "cat.jpg", exif_orientation=True)
    found = {"pixels": np.stack([CLASSIFY.preprocess(image, card, CLASSIFY.options()).pixels])}
    exec(example.text, found)
    assert found["labels"][int(found["logits"].argmax())] == "cat"


@pytest.mark.parametrize("command", [c for c in COMMANDS if kind(c) == "twins evaluate"])
def test_evaluate_takes_the_flags(command, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    folder = shlex.split(command)[-1]
    Path(folder).mkdir(parents=True)
    assert evaluate.make_context("evaluate", shlex.split(command)[2:]).params["folder"] == Path(folder)


@pytest.mark.parametrize("command", [c for c in COMMANDS if kind(c) == "twins convert"])
def test_convert_writes_a_file_that_can_be_read(command, tmp_path, monkeypatch):
    shipped = checkpoint.load(ROOT / "twins" / "weights" / "twins_svt_nano.safetensors")
    torch.save(shipped.state, tmp_path / "flowers.pth")
    (tmp_path / "flowers.txt").write_text("\n".join(f"flower {i}" for i in range(shipped.classes)))
    monkeypatch.chdir(tmp_path)
    ran = CliRunner().invoke(twins, shlex.split(command)[1:])
    assert ran.exit_code == 0, ran.output
    written = checkpoint.load(tmp_path / shlex.split(command)[3])
    assert written.declared.labels
    assert written.declared.labels[0] == "flower 0"
