"""A frontend that has no file descriptor left."""

import resource
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.server import Server, wait_until

OPEN_FILES = 100
WATCHED_S = 1.0


@pytest.fixture(scope="module")
def limited():
    """A service whose processes may open few files."""
    limits = (OPEN_FILES, OPEN_FILES)
    with Server(preexec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limits)) as running:
        yield running


def connect(address: str, connections: ExitStack) -> None:
    """Open more connections than the service may have files."""
    host, _, port = address.rpartition(":")
    for _ in range(2 * OPEN_FILES):
        connections.enter_context(socket.create_connection((host, int(port))))


def test_a_frontend_without_file_descriptors_rests_and_serves_again_when_some_are_free(limited, cat):
    files = Path(f"/proc/{limited.pid('frontend-0')}/fd")
    with ExitStack() as connections:
        connect(urlsplit(limited.http).netloc, connections)
        wait_until(lambda: len(list(files.iterdir())) == OPEN_FILES, what="as many open files as are allowed")
        cpu_s, log = limited.cpu_s("frontend-0"), len(limited.log().splitlines())
        time.sleep(WATCHED_S)  # what a busy loop would use shows only over a time
        assert limited.cpu_s("frontend-0") - cpu_s < WATCHED_S / 2
        assert len(limited.log().splitlines()) - log <= 2 * WATCHED_S + 1
    wait_until(lambda: answers(limited, cat), what="an answer")
    assert not limited.events("restarting")


def test_connections_to_the_grpc_port_leave_files_for_http(limited, cat):
    with ExitStack() as connections:
        connect(limited.grpc, connections)
        assert answers(limited, cat)
    assert not limited.events("restarting")


def answers(server: Server, image: bytes) -> bool:
    """Return whether the service classifies an image."""
    try:
        return httpx.post(f"{server.http}/classify", content=image, timeout=10).status_code == 200
    except httpx.TransportError:
        return False
