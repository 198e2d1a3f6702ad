"""The scripts of the image build and of its health check."""

import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import distributions
from pathlib import Path

import pytest

from service.processes import readiness
from tests.certificates import Authority
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


def test_dependencies_of_an_extra_are_added():
    listed = run("dependencies.py", ROOT / "pyproject.toml", "tracing").stdout.splitlines()
    assert {"torch>=2.8", "opentelemetry-sdk>=1.40"} <= set(listed)


@contextmanager
def answering(status: int, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """Run a server that answers /readyz with this status, over TLS if there is a context. Yield its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield str(server.server_port)
        server.shutdown()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_a_container_is_healthy_when_the_service_is_ready(status, code):
    with answering(status) as port:
        assert run("ready.py", TWINS_HTTP_PORT=port).returncode == code


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_a_container_is_healthy_over_tls_whatever_the_name_in_the_certificate(status, code, tmp_path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*Authority(tmp_path, "ca").issue("service"))
    with answering(status, context) as port:
        assert run("ready.py", TWINS_HTTP_PORT=port, TWINS_TLS_CERTIFICATE="service.crt").returncode == code


@pytest.mark.parametrize(("word", "code"), [(b"ready", 0), (b"not ready", 1)])
def test_a_container_with_mutual_tls_asks_the_first_frontend_that_runs(word, code):
    with socket.socket(socket.AF_UNIX) as frontend:
        frontend.bind(readiness.address("10.0.0.1", 1, 2))
        frontend.listen()
        with ThreadPoolExecutor(1) as thread:
            thread.submit(lambda: frontend.accept()[0].sendall(word))
            environ = {"TWINS_HOST": "10.0.0.1", "TWINS_HTTP_PORT": "1", "TWINS_TLS_CLIENT_CA": "ca.pem"}
            assert run("ready.py", **environ).returncode == code


def test_a_container_with_mutual_tls_is_not_healthy_while_no_frontend_runs():
    assert run("ready.py", TWINS_HTTP_PORT="1", TWINS_TLS_CLIENT_CA="ca.pem").returncode == 1


def test_a_container_is_not_healthy_while_the_service_does_not_listen():
    with answering(200) as port:
        pass
    assert run("ready.py", TWINS_HTTP_PORT=port).returncode == 1
