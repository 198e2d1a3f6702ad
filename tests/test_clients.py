"""Compare the versions in docs/clients.md with those of the clients that are installed."""

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

import pytest
from packaging.version import Version

from tests.chromium import MISSING, find
from tests.clients import environment
from tests.programs import need, output
from tools.documents import DOCS, ROOT

PAGE = DOCS / "clients.md"
NUMBER = re.compile(r"\d+(?:\.\d+)*")


@dataclass(frozen=True)
class Entry:
    """A row of the table."""

    client: str
    version: str  # a version, or the least one as in `7.88 or newer`
    calls: str
    result: str
    test: str

    @property
    def least(self) -> bool:
        """Return whether newer versions are meant as well."""
        return self.version.endswith(" or newer")


def rows() -> list[Entry]:
    """Return the rows of the table."""
    lines = [line.strip("| ").split(" | ") for line in PAGE.read_text("utf-8").splitlines() if line.startswith("|")]
    return [Entry(*cells) for cells in lines[2:]]


def printed(program: str, flag: str) -> Callable[[], str]:
    """Return what finds the version that a program prints."""

    def version() -> str:
        need(program)
        return NUMBER.findall(output(program, flag).removeprefix(program))[0]

    return version


def installed(package: str) -> Callable[[], str]:
    """Return what finds the version of a package in the environment of the tests."""
    return lambda: metadata.version(package)


def apart(name: str, package: str) -> Callable[[], str]:
    """Return what finds the version of a package in an environment of clients."""
    program = f"import json; from importlib import metadata; print(json.dumps(metadata.version({package!r})))"
    return lambda: environment.evaluate(name, program)


def browser() -> str:
    """Return the version of Chromium."""
    if not (program := find()):
        pytest.skip(MISSING)
    return NUMBER.findall(subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout)[0]


FOUND = {
    "curl": printed("curl", "--version"),
    "httpx": installed("httpx"),
    "twins-client": apart("own", "twins-client"),
    "grpcio": installed("grpcio"),
    "grpcio-tools": installed("grpcio-tools"),
    "grpcurl": printed("grpcurl", "-version"),
    "k6": printed("k6", "version"),
    "tritonclient": apart("triton", "tritonclient"),
    "huggingface_hub": installed("huggingface_hub"),
    "Chromium": browser,
}
"""What finds the installed version, by the word of the row that names the client."""


def named(row: Entry) -> str:
    """Return the client that a row names: the last known word, since some rows say with what the calls are made."""
    words = re.findall(r"\w+(?:-\w+)*", row.client)
    return [word for word in words if word in FOUND][-1]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.client)
def test_the_version_is_the_one_that_is_installed(row):
    found = FOUND[named(row)]()
    if row.least:
        assert Version(found) >= Version(row.version.removesuffix(" or newer"))
    else:
        assert found == row.version


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.client)
def test_the_named_test_exists(row):
    assert (ROOT / row.test.strip("`")).exists()


def test_every_client_whose_version_is_known_is_in_the_table():
    assert {named(row) for row in rows()} == FOUND.keys()
