"""The memory of a frontend whose clients disconnect."""

import io
import os
import socket
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from tests.server import Server, wait_until

UPLOADS = 60
GROWTH_BYTES = 80 * 2**20  # of a frontend: a few images that are being decoded; all uploads together are 900 MB


@pytest.fixture(scope="module")
def heavy() -> bytes:
    """An image of 15 MB that takes long to decode."""
    pixels = np.random.default_rng(0).integers(0, 256, (2240, 2240, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def upload_and_disconnect(base: str, image: bytes) -> None:
    """Send a whole request and close the connection before its answer."""
    address = urlsplit(base)
    head = f"POST /classify HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {len(image)}\r\n\r\n"
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(head.encode() + image)


def test_uploads_whose_clients_disconnect_leave_no_memory_behind(heavy):
    with Server("--decode-threads", "1") as server:
        upload_and_disconnect(server.http, heavy)
        wait_until(lambda: server.metric("twins_requests_total") == 1, what="the end of the first request")
        before = server.memory_bytes()["frontend-0"]
        for _ in range(UPLOADS):
            upload_and_disconnect(server.http, heavy)
        wait_until(lambda: server.metric("twins_requests_total") > UPLOADS, what="the end of all requests")
        growth = server.memory_bytes()["frontend-0"] - before
        print(growth / 2**20, before / 2**20, os.getpid())
    assert growth < GROWTH_BYTES
