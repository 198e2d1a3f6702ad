"""The HTTP server of a frontend in a thread of this process, over workers that a test controls, with raw sockets."""

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from starlette.responses import Response

from service.core.engine import Engine
from service.processes.listening import BACKLOG, open_socket
from service.processes.loop import Loop
from service.rest.server import Server
from service.settings import Settings
from service.tls import open_certificates
from tests.service.core.engines import FakePool

LARGE_BYTES = 16 * 2**20  # far more than the buffers of the system
HOST = "127.0.0.1"


class Frontend:
    """A running HTTP server. `pool` is what runs its images; touch it with `do` alone."""

    def __init__(self, **settings: Any) -> None:
        self.settings = Settings(grace_s=1, **settings)
        self.listener = open_socket(HOST, 0, share=False)
        self.listener.listen(BACKLOG)
        self.port = self.listener.getsockname()[1]
        self.stopped = asyncio.Event()
        self.started = threading.Event()
        self.thread = threading.Thread(target=self.run, name="frontend")
        self.tasks: list[asyncio.Task[Any]] = []  # of a test, in the thread of the server
        self.engine: Engine
        self.pool: FakePool
        self.server: Server
        self.loop: asyncio.AbstractEventLoop

    def __enter__(self) -> "Frontend":
        self.thread.start()
        assert self.started.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.stopped.set)
        self.thread.join(30)

    def run(self) -> None:
        """Serve until the end of the block."""
        with asyncio.Runner(loop_factory=Loop) as runner:
            runner.run(self.serve())

    async def serve(self) -> None:
        """Serve until `stopped` is set."""
        self.loop = asyncio.get_running_loop()
        self.pool = FakePool()
        self.engine = Engine(self.settings, self.pool)
        self.server = server = Server(self.engine, [add_large], open_certificates(self.settings))
        await server.start(self.listener)
        self.started.set()
        await self.stopped.wait()
        self.pool.gate.set()
        await server.stop()

    def do(self, act: Callable[[], Any]) -> None:
        """Call a function in the thread of the server, and wait for it."""
        done = threading.Event()
        self.loop.call_soon_threadsafe(lambda: (act(), done.set()))
        assert done.wait(30)

    def connect(self, data: bytes = b"", *, receive_bytes: int = 0) -> socket.socket:
        """Return a new connection on which these bytes have been sent."""
        connection = socket.socket()
        connection.settimeout(30)
        if receive_bytes:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.connect((HOST, self.port))
        connection.sendall(data)
        return connection


def add_large(app: FastAPI, _: Engine) -> None:
    """Add a path with a large answer."""

    @app.get("/large")
    async def large() -> Response:
        return Response(bytes(LARGE_BYTES))


def rest(connection: socket.socket) -> bytes:
    """Return what arrives until the other side ends the connection, whether it does so in order or not."""
    received = b""
    try:
        while piece := connection.recv(2**20):
            received += piece
    except ConnectionResetError:
        pass
    return received


def status(connection: socket.socket) -> int:
    """Return the status of the next answer, of which the rest is left unread or lost; 0 if there is none."""
    line = connection.recv(12)
    return int(line[9:]) if line else 0
