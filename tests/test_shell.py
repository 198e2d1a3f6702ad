"""Run the commands of the documents that call a service from a shell: with curl, grpcurl and k6."""

import base64
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.programs import need
from tests.server import Server
from tests.shell import (
    ANSWERED,
    CALLING,
    COMMANDS,
    PRINTED,
    SCRIPTS,
    STUBS,
    addressed,
    assert_alike,
    bash,
    each,
    kind,
    of_page,
    program,
)
from tools.documents import ROOT, Example, blocks, commands

DOWNLOADS = [command for command in COMMANDS if kind(command) == "download"]
LOADS = [command for command in COMMANDS if kind(command) == "twins load"]
STUB_CLIENTS = [example for example in each("python", "text") if "\nimport twins_pb2\n" in example.text]
RUN = {
    *(command for example in [*ANSWERED, *PRINTED, *STUBS] for command in commands(example.text)),
    *(command for example in SCRIPTS for command in commands(example.expected or "")),
    *DOWNLOADS,
    *LOADS,
}
"""Every command that a test of this module runs as it is shown."""


@pytest.fixture(scope="module")
def server():
    with Server() as running:
        yield running


@pytest.mark.parametrize("page", CALLING, ids=lambda page: page.name)
def test_every_command_of_a_page_about_calls_is_run(page):
    assert not set(of_page(page)) - RUN


@pytest.mark.parametrize("page", CALLING, ids=lambda page: page.name)
def test_every_command_of_a_page_is_in_a_block_of_shell(page):
    others = [text for language, text in blocks(page) if language in ("", "text")]
    assert not [text for text in others if re.match(r"(curl|grpcurl|k6|twins|pip|python) ", text)]


@pytest.mark.parametrize("example", ANSWERED, ids=lambda e: e.text[:60])
def test_an_answer_in_json_is_as_shown(example: Example, server):
    need(program(example))
    assert_alike(json.loads(bash(addressed(example.text, server))), json.loads(example.expected))


@pytest.mark.parametrize("example", PRINTED, ids=lambda e: e.text[:60])
def test_a_command_prints_what_is_shown(example: Example, server):
    need(program(example))
    assert bash(addressed(example.text, server)) == example.expected


@pytest.mark.parametrize("command", DOWNLOADS)
def test_a_download_is_a_vector_or_an_image_of_the_original_size(command, server, tmp_path):
    need("curl")
    target = tmp_path / shlex.split(command)[shlex.split(command).index("-o") + 1]
    bash(addressed(command, server).replace(f"-o {target.name}", f"-o {target}"))
    CHECKS.get(target.suffix, check_image)(target, command)


def check_vector(target: Path, command: str) -> None:
    """Check that a file is an embedding."""
    assert np.load(target).ndim == 1


def check_tensors(target: Path, command: str) -> None:
    """Check that a file is an answer of the Open Inference Protocol with binary values."""
    assert target.read_bytes().startswith(b'{"model_name"')


def check_vectors(target: Path, command: str) -> None:
    """Check that a file has an embedding in base64 for each image that was sent."""
    found = json.loads(target.read_bytes())
    assert len(found) == command.count("image=@")
    assert all(len(base64.b64decode(one["embedding"])) == 4 * one["dim"] for one in found)


def check_image(target: Path, command: str) -> None:
    """Check that a file is an image of the size of the one that was sent."""
    (sent,) = re.findall(r"@(examples/\S+)", command)
    assert Image.open(target).size == Image.open(ROOT / sent).size


CHECKS = {".npy": check_vector, ".bin": check_tensors, ".json": check_vectors}
"""What is wrong with a file is found by its suffix; all others are images."""


def test_stubs_generated_in_an_empty_folder_reach_the_service(server, tmp_path):
    need("curl")
    (stubs,), (client,) = STUBS, STUB_CLIENTS
    bash(addressed(stubs.text, server), tmp_path)
    code = [sys.executable, "-c", addressed(client.text, server)]
    ran = subprocess.run(code, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert ran.stdout == client.expected


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda e: e.expected)
def test_k6_reports_that_every_answer_is_right(script: Example, server, tmp_path):
    need("k6")
    (command,) = commands(script.expected or "")
    (file,) = re.findall(r"\w+\.js", command)
    (tmp_path / file).write_text(addressed(script.text, server))
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("train", "*.ipynb"))
    report = bash(command, tmp_path)
    sent, failed = (
        int(re.findall(rf"{name}\.*: .*?(\d+)(?: out of|\s)", report)[0]) for name in ("iterations", "checks_failed")
    )
    assert sent > 0
    assert failed == 0


@pytest.mark.parametrize("command", LOADS)
def test_twins_load_reports_answers_without_errors(command, server, tmp_path):
    shutil.copytree(ROOT / "examples", tmp_path / "images", ignore=shutil.ignore_patterns("train", "*.ipynb"))
    figures = json.loads(bash(f"{addressed(command, server)} --seconds 1 --warm-up-s 0 --json", tmp_path))
    assert figures["errors"] == {}
    assert figures["succeeded"] > 0
