"""Run the examples of README and of the pages in `docs/`, against a real service."""

import json
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
from service.rpc import server as rpc
from service.settings import load
from tests import detection, segmentation
from tests.forward import LONG
from tests.server import Server
from tools.documents import PAGES, ROOT, Example, commands, examples
from twins.checkpoints import checkpoint
from twins.runtime.inputs import card_for, open_image
from twins.tasks.classify import CLASSIFY
from twins.zoo.models import parse_reference

SHELL = list(dict.fromkeys(example for page in PAGES for example in examples(page, "sh", "json")))
PYTHON = list(dict.fromkeys(example for page in PAGES for example in examples(page, "python", "text")))
COMMANDS = list(dict.fromkeys(command for example in SHELL for command in commands(example.text)))
FILE_USERS = [example for page in PAGES for example in examples(page, "py", "")]
STUBS = [example for example in SHELL if "protoc" in example.text]
STUB_CLIENTS = [example for example in PYTHON if "\nimport twins_pb2\n" in example.text]
CHANGING = {"request_id"}  # fields that are new each time


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


def addressed(text: str, server: Server) -> str:
    """Return an example with the addresses of the service under test."""
    http = server.http.removeprefix("http://")
    return text.replace("localhost:8000", http).replace("localhost:8001", server.grpc)


def bash(command: str, folder: Path = ROOT) -> str:
    """Return the output of a shell command."""
    script = f"set -euo pipefail\nPATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH\n{command}"
    return subprocess.run(["bash", "-c", script], cwd=folder, check=True, capture_output=True, text=True).stdout


def assert_alike(found: object, expected: object) -> None:
    """Check that two values are equal, except for fields that change and for rounding."""
    if isinstance(expected, dict):
        assert isinstance(found, dict)
        assert found.keys() == expected.keys()
        for name in expected.keys() - CHANGING:
            assert_alike(found[name], expected[name])
    elif isinstance(expected, list):
        assert isinstance(found, list)
        assert len(found) == len(expected)
        for mine, other in zip(found, expected, strict=True):
            assert_alike(mine, other)
    elif isinstance(expected, int) and expected > 1000:  # pixels, some of which are on borders
        assert found == pytest.approx(expected, rel=1e-2)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=2e-3)
    else:
        assert found == expected


def kind(command: str) -> str:
    """Return the kind of a command, which decides the test that runs it."""
    words = command.split()
    if any(command in example.text for example in STUBS):
        return "stubs"
    if "grpcurl" in words:
        return "grpcurl"
    if "docker" in words:
        return "docker"  # tests/container has the test
    if "-o" in words:
        return "download"
    return "curl" if "curl" in words else " ".join(words[:2]) if words[0] == "twins" else words[0]


def test_every_command_is_of_a_kind_that_is_tested():
    known = {"make", "pip", "curl", "download", "grpcurl", "docker", "stubs"} | {
        f"twins {name}" for name in twins.list_commands(Context(twins))
    }
    assert set(map(kind, COMMANDS)) <= known


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize(
    "example", [e for e in SHELL if kind(commands(e.text)[0]) == "curl"], ids=lambda e: e.text[:60]
)
def test_curl_is_answered_as_shown(example: Example, server):
    (command,) = commands(example.text)
    assert example.expected, "an answer should follow the command"
    assert_alike(json.loads(bash(addressed(command, server))), json.loads(example.expected))


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("command", [c for c in COMMANDS if kind(c) == "download"])
def test_a_download_is_a_vector_or_an_image_of_the_original_size(command, server, tmp_path):
    target = tmp_path / shlex.split(command)[shlex.split(command).index("-o") + 1]
    bash(addressed(command, server).replace(f"-o {target.name}", f"-o {target}"))
    if target.suffix == ".npy":
        assert np.load(target).ndim == 1
    elif target.suffix == ".bin":
        assert target.read_bytes().startswith(b'{"model_name"')
    else:
        (sent,) = re.findall(r"@(examples/\S+)", command)
        assert Image.open(target).size == Image.open(ROOT / sent).size


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_stubs_generated_in_an_empty_folder_reach_the_service(server, tmp_path):
    (stubs,), (client,) = STUBS, STUB_CLIENTS
    bash(addressed(stubs.text, server), tmp_path)
    code = [sys.executable, "-c", addressed(client.text, server)]
    ran = subprocess.run(code, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert ran.stdout == client.expected


@pytest.mark.parametrize("example", [e for e in PYTHON if e not in STUB_CLIENTS], ids=lambda e: e.text.split()[1])
def test_python_prints_what_is_shown(example: Example, server):
    code = addressed(example.text, server)
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert ran.stdout == example.expected


@pytest.mark.parametrize("command", [c for c in COMMANDS if kind(c) == "grpcurl"])
def test_grpcurl_names_existing_methods(command, server):
    if shutil.which("grpcurl"):
        assert bash(addressed(command, server))
    services = {"twins.v1.Twins": rpc.pb.DESCRIPTOR.services_by_name["Twins"]}
    services["grpc.health.v1.Health"] = rpc.health_pb2.DESCRIPTOR.services_by_name["Health"]
    for service, method in re.findall(r" ([\w.]+)/(\w+)$", command):
        assert method in services[service].methods_by_name
    for message in re.findall(r'"(top_k|image)":', command):
        assert message in rpc.pb.ClassifyRequest.DESCRIPTOR.fields_by_name


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
