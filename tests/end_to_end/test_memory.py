"""The memory of a frontend whose clients disconnect, or do not read."""

import io
import socket
from contextlib import ExitStack
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.server import RETURN_FREED, Server, wait_until

UPLOADS = 20  # 300 MB
UNREAD = 8  # answers; the limit has room for three of them beside the working memory of one image
GROWTH_BYTES = 24 * 2**20  # of a frontend, once nothing is in flight; a single upload is 15 MB


@pytest.fixture(scope="module")
def heavy() -> bytes:
    """An image of 15 MB that takes longer to decode than to send."""
    pixels = np.random.default_rng(0).integers(0, 256, (2240, 2240, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", lossless=True, quality=0, method=0)
    return file.getvalue()


def upload_and_disconnect(base: str, image: bytes) -> None:
    """Send a whole request and close the connection before its answer."""
    address = urlsplit(base)
    head = f"POST /classify HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {len(image)}\r\n\r\n"
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(head.encode() + image)


def test_uploads_whose_clients_disconnect_leave_no_memory_behind(heavy):
    with Server("--decode-threads", "1", environ=RETURN_FREED) as server:
        upload_and_disconnect(server.http, heavy)
        wait_until(lambda: server.metric("twins_requests_total") == 1, what="the end of the first request")
        before = server.memory_bytes()["frontend-0"]
        for _ in range(UPLOADS):
            upload_and_disconnect(server.http, heavy)
        wait_until(lambda: server.metric("twins_requests_total") > UPLOADS, what="the end of all requests")
        wait_until(
            lambda: server.memory_bytes()["frontend-0"] - before < GROWTH_BYTES,
            timeout_s=20,
            what="as much free memory",
        )


def post_without_reading(base: str, image: bytes) -> socket.socket:
    """Send a whole request whose answer, an array of 6.8 MB, stays in the service."""
    address = urlsplit(base)
    head = f"POST /segment?format=npy HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {len(image)}\r\n\r\n"
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((address.hostname, address.port))
    connection.sendall(head.encode() + image)
    return connection


def test_answers_that_clients_do_not_read_count_as_memory_until_they_disconnect():
    file = io.BytesIO()
    Image.new("RGB", (2600, 2600)).save(file, "PNG")
    image = file.getvalue()
    with (
        Server("--model", "twins_svt_nano_fpn", "--max-held-bytes", str(120 * 2**20)) as server,
        ExitStack() as clients,
    ):
        for number in range(1, UNREAD + 1):
            clients.enter_context(post_without_reading(server.http, image))
            wait_until(lambda n=number: server.metric("twins_requests_total") == n, what="the end of a request")
        assert server.metric("twins_requests_total", code="overloaded") > 0
        clients.close()
        wait_until(
            lambda: httpx.post(f"{server.http}/segment?format=npy", content=image, timeout=60).status_code == 200,
            what="an answer after the clients have disconnected",
        )
