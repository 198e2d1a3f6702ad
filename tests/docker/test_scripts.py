"""The scripts of the image build and of its health check."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import distributions
from pathlib import Path

import pytest

from tools.documents import ROOT

DOCKER = ROOT / "docker"


def run(script: str, *arguments: object, **environ: str) -> subprocess.CompletedProcess:
    """Run a script."""
    command = [sys.executable, str(DOCKER / script), *map(str, arguments)]
    return subprocess.run(command, env=environ or None, check=False, capture_output=True, text=True, timeout=60)


@pytest.fixture
def lock(tmp_path) -> Path:
    """Write a file that pins all installed packages."""
    file = tmp_path / "constraints.txt"
    found = {each.name: each.version.partition("+")[0] for each in reversed(list(distributions()))}  # the first counts
    file.write_text("\n".join(f"{name}=={version}" for name, version in found.items()))
    return file


def test_a_build_of_locked_versions_passes(lock):
    assert run("locked.py", lock).returncode == 0


def test_a_build_with_another_version_fails_and_names_it(lock):
    lock.write_text(lock.read_text().replace("numpy==", "numpy==0."))
    ran = run("locked.py", lock)
    assert ran.returncode == 1
    assert "numpy==" in ran.stderr


def test_a_build_with_an_unlocked_package_fails_and_names_it(lock):
    lock.write_text("\n".join(line for line in lock.read_text().splitlines() if not line.startswith("torch==")))
    ran = run("locked.py", lock)
    assert ran.returncode == 1
    assert "torch==" in ran.stderr


def test_dependencies_are_those_of_the_project():
    listed = run("dependencies.py", ROOT / "pyproject.toml").stdout.splitlines()
    assert any(line.startswith("torch>=") for line in listed)
    assert not any(line.startswith("pytest") for line in listed)


@contextmanager
def answering(status: int) -> Iterator[str]:
    """Run a server that answers /readyz with this status. Yield its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield str(server.server_port)
        server.shutdown()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_a_container_is_healthy_when_the_service_is_ready(status, code):
    with answering(status) as port:
        assert run("ready.py", TWINS_HTTP_PORT=port).returncode == code


def test_a_container_is_not_healthy_while_the_service_does_not_listen():
    with answering(200) as port:
        pass
    assert run("ready.py", TWINS_HTTP_PORT=port).returncode == 1
