"""The generated modules match the sources."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
GENERATED = sorted(
    path.relative_to(ROOT) for package in ("service", "client") for path in (ROOT / package).rglob("*_pb2*.py*")
)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """Generate the modules with the commands of the Makefile. Return their folder."""
    folder = tmp_path_factory.mktemp("generated")
    (folder / "client").mkdir()
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    commands = re.findall(r"\$\(BIN\)/python (-m grpc_tools\.protoc .*)", makefile)
    assert len(commands) == 2
    for command in commands:
        arguments = shlex.split(re.sub(r"_out=(\.|client)", rf"_out={folder}/\1", command))
        subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True)
    return folder


@pytest.mark.parametrize("path", GENERATED, ids=str)
def test_a_generated_module_is_up_to_date(path, fresh):
    assert (fresh / path).read_text() == (ROOT / path).read_text()


def test_every_generated_module_is_committed(fresh):
    assert [path.relative_to(fresh) for path in sorted(fresh.rglob("*_pb2*.py*"))] == GENERATED


def test_the_source_that_the_service_serves_is_this_one():
    source = Path("twins", "v1", "twins.proto")
    assert (ROOT / "service" / "pb" / source).read_text() == (ROOT / "proto" / source).read_text()
