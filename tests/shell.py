"""The shell commands of README and of the pages in `docs/`, and how a test runs them."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import PATH
from tests.server import Server
from tools.documents import DOCS, PAGES, ROOT, Example, blocks, commands, examples

CALLING = [DOCS / f"{name}.md" for name in ("http", "grpc", "oip", "migrating", "load")]
"""The pages about calls of a running service."""
LANGUAGES = ("sh", "shell", "bash", "console")
PROGRAMS = ("curl", "grpcurl", "k6")
CHANGING = {"request_id", "timing"}  # fields that are new each time


def unique(found: list) -> list:
    """Return a list without repetitions."""
    return list(dict.fromkeys(found))


def each(language: str, result: str) -> list[Example]:
    """Return the examples of all pages in a language, with the block of `result` that follows."""
    return unique([example for page in PAGES for example in examples(page, language, result)])


def of_page(page: Path) -> list[str]:
    """Return all shell commands of a page."""
    return [command for language, text in blocks(page) if language in LANGUAGES for command in commands(text)]


COMMANDS = unique([command for example in each("sh", "json") for command in commands(example.text)])
ANSWERED = [example for example in each("sh", "json") if example.expected]
PRINTED = [example for example in each("sh", "text") if example.expected]
STUBS = [example for example in each("sh", "json") if "protoc" in example.text]
SCRIPTS = [example for example in each("js", "sh") if example.expected]
"""Programs for k6, each with the command that runs it."""


def kind(command: str) -> str:
    """Return the kind of a command, which decides the test that runs it."""
    words = command.split()
    if any(command in example.text for example in STUBS):
        return "stubs"
    if "docker" in words:
        return "docker"  # tests/container has the test
    if "-o" in words:
        return "download"
    found = [program for program in PROGRAMS if program in words]
    return (found or [" ".join(words[:2]) if words[0] == "twins" else words[0]])[0]


def program(example: Example) -> str:
    """Return the program that an example needs."""
    return next(name for name in PROGRAMS if re.search(rf"\b{name}\b", example.text))


def addressed(text: str, server: Server) -> str:
    """Return an example with the addresses of the service under test."""
    http = server.http.removeprefix("http://")
    return text.replace("localhost:8000", http).replace("localhost:8001", server.grpc)


def bash(command: str, folder: Path = ROOT) -> str:
    """Return the output of a shell command."""
    path = f"{Path(sys.executable).parent}:{PATH}"
    script = f"set -euo pipefail\nPATH={shlex.quote(path)}\n{command}"
    ran = subprocess.run(["bash", "-c", script], cwd=folder, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


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
