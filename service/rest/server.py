"""The HTTP server: uvicorn, without its signal handling and with a shutdown that loses no request."""

import asyncio
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import cast

import uvicorn
from fastapi import FastAPI

from service.core.engine import Engine
from service.rest.app import build
from service.rest.connections import Connections
from service.rest.handshake import Handshake, Handshakes
from service.rest.protocol import Protocol
from service.tls import Certificates

# how long to wait for requests over connections that are open when listening ends
LATE_S, LONGEST_LATE_S = 0.3, 2.0
BACKLOG = 2048
STRICT = [("Strict-Transport-Security", "max-age=31536000")]
"""The header by which browsers remember to use TLS, for a year."""

AddRoutes = Callable[[FastAPI, Engine], None]
"""Adds the routes of another protocol to the application."""


class Server(uvicorn.Server):
    """The HTTP server of one frontend."""

    def __init__(
        self, engine: Engine, routes: Sequence[AddRoutes] = (), certificates: Certificates | None = None
    ) -> None:
        app = build(engine)
        self.connections = Connections(engine.settings)
        for add in routes:
            add(app, engine)
        super().__init__(
            uvicorn.Config(
                app,
                http=cast(type[asyncio.Protocol], partial(Protocol, engine, self.connections)),
                proxy_headers=False,  # see `service.rest.scope`
                lifespan="off",
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                headers=STRICT if certificates else [],
                backlog=BACKLOG,
                timeout_keep_alive=engine.settings.idle_timeout_s,  # type: ignore[arg-type]  # any number will do
                timeout_graceful_shutdown=max(1, round(engine.settings.grace_s)),
            )
        )
        self.certificates = certificates
        self.handshakes: Handshakes = set()  # of TLS, which are not complete
        self.listener: socket.socket
        self.serving: asyncio.Task[None] | None = None
        self.listening = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers, because the frontend decides when to stop."""
        yield

    async def start(self, listener: socket.socket) -> None:
        """Serve on a listening socket. Raises RuntimeError, or what uvicorn raises, if the server does not start."""
        listener.setblocking(False)  # noqa: FBT003 - the standard library's signature
        self.listener = listener
        self.serving = asyncio.create_task(self.serve([listener]))
        listening = asyncio.create_task(self.listening.wait())
        await asyncio.wait({self.serving, listening}, return_when=asyncio.FIRST_COMPLETED)
        if not listening.done():
            listening.cancel()
            await self.serving
            raise RuntimeError("the HTTP server ended as it started")

    async def wait(self) -> None:
        """Return when the server has ended."""
        if self.serving:
            await asyncio.wait({self.serving})
            await self.serving

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - uvicorn's signature
        """Accept connections, and let `start` return."""
        await self.lifespan.startup()
        loop = asyncio.get_running_loop()
        self.servers = [await loop.create_server(self.protocol, sock=self.listener.dup(), backlog=BACKLOG)]
        self.started = True
        self.listening.set()

    async def stop(self) -> None:
        """Stop, and return when every request is answered."""
        self.should_exit = True
        if self.serving:
            await self.serving

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, and wait a short time for requests that are in transit over open connections."""
        waiting = list(accept_all(self.listener))
        for server in self.servers:
            server.close()
        self.listener.close()
        for opened in waiting:
            with suppress(OSError):  # the client has left
                await asyncio.get_running_loop().connect_accepted_socket(self.protocol, opened)
        await self.wait_for_late_requests()
        for handshake in self.handshakes:
            handshake.transport.abort()
        await super().shutdown(sockets)

    async def wait_for_late_requests(self) -> None:
        """Wait for requests that are in transit: LATE_S, or LONGEST_LATE_S for connections without a request so far."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while loop.time() - began < (LONGEST_LATE_S if self.has_unused_connection() else LATE_S):  # noqa: ASYNC110
            await asyncio.sleep(LATE_S / 10)  # uvicorn has no event for the start of a request

    def has_unused_connection(self) -> bool:
        """Return whether any open connection has had no request, or is still in its handshake."""
        used = (getattr(connection, "cycle", None) is not None for connection in self.server_state.connections)
        return bool(self.handshakes) or not all(used)

    def protocol(self) -> asyncio.Protocol:
        """Return the protocol of a new connection."""
        if self.certificates is None:
            return self.http()
        return Handshake(self.certificates, self.connections, self.handshakes, self.http)

    def http(self) -> Protocol:
        """Return the protocol of a connection over which requests arrive."""
        return self.config.http_protocol_class(  # type: ignore[call-arg,return-value]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )


def accept_all(listener: socket.socket) -> Iterator[socket.socket]:
    """Yield the connections that wait to be accepted, which closing the listener would reset."""
    with suppress(BlockingIOError):
        while True:
            opened, _ = listener.accept()
            opened.setblocking(False)  # noqa: FBT003 - the standard library's signature
            yield opened
