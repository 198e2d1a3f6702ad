"""`make serve` on a machine where something is in the way."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tools.documents import ROOT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def checkout(tmp_path):
    """A copy of what runs before anything is installed."""
    (tmp_path / "tools").mkdir()
    for name in ("Makefile", "tools/ports.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which another program listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def make(checkout, target: str, **variables: object) -> subprocess.CompletedProcess:
    """Run make with these environment variables."""
    environ = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    command = ["make", "-C", str(checkout), f"PYTHON={sys.executable}", target]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=60)


def test_a_port_that_is_taken_is_noticed_before_anything_is_installed(checkout, taken):
    ran = make(checkout, "serve", TWINS_HTTP_PORT=taken, TWINS_GRPC_PORT=0)
    assert ran.returncode != 0
    said = f"make serve: cannot listen on 127.0.0.1:{taken}: another program uses this port; choose another one"
    assert f"{said}, as in `TWINS_HTTP_PORT=8080 make serve`" in ran.stderr
    assert not (checkout / ".venv").exists()


def test_an_address_that_this_machine_does_not_have_is_named(checkout):
    ran = make(checkout, "serve", TWINS_HOST="192.0.2.1", TWINS_HTTP_PORT=0, TWINS_GRPC_PORT=0)
    assert "cannot listen on 192.0.2.1:0: " in ran.stderr
    assert "set TWINS_HOST to an address of this machine" in ran.stderr


def test_a_port_that_is_no_number_is_noticed_too(checkout):
    ran = make(checkout, "serve", TWINS_HTTP_PORT=0, TWINS_GRPC_PORT="many")
    assert "TWINS_GRPC_PORT must be a whole number from 0 to 65535, not 'many'" in ran.stderr


def test_free_ports_let_it_go_on_in_silence(checkout):
    ran = make(checkout, "ports", TWINS_HTTP_PORT=0, TWINS_GRPC_PORT=0)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_the_ports_in_the_settings_file_are_the_ones_that_are_checked(checkout, taken, tmp_path):
    (tmp_path / "twins.toml").write_text(f"http_port = {taken}\ngrpc_port = 0\n")
    ran = make(checkout, "ports", TWINS_CONFIG=tmp_path / "twins.toml")
    assert f"{taken}: " in ran.stderr
    assert ran.stderr.count("make serve: ") == 1
    ran = make(checkout, "ports", TWINS_CONFIG=tmp_path / "twins.toml", TWINS_HTTP_PORT=0)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_one_port_for_both_protocols_is_noticed(checkout):
    ran = make(checkout, "serve", TWINS_HTTP_PORT=8123, TWINS_GRPC_PORT=8123)
    assert "TWINS_HTTP_PORT and TWINS_GRPC_PORT are both 8123; choose two different ports" in ran.stderr
