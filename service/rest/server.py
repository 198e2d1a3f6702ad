"""The HTTP server: uvicorn, without its signal handling and with a shutdown that loses no request."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, cast

import uvicorn
from fastapi import FastAPI

from service.core.engine import Engine
from service.rest.app import build
from service.rest.connections import Connections
from service.rest.protocol import Protocol
from service.tls import HANDSHAKE_S

# how long to wait for requests over connections that are open when listening ends
LATE_S, LONGEST_LATE_S = 0.3, 2.0
CLOSE_S = 5.0  # for a client to confirm the end of TLS, which clients do not do over idle connections
BACKLOG = 2048
STRICT = [("Strict-Transport-Security", "max-age=31536000")]
"""The header by which browsers remember to use TLS, for a year."""

AddRoutes = Callable[[FastAPI, Engine], None]
"""Adds the routes of another protocol to the application."""


class Server(uvicorn.Server):
    """The HTTP server of one frontend."""

    def __init__(self, engine: Engine, routes: Sequence[AddRoutes] = (), context: ssl.SSLContext | None = None) -> None:
        app = build(engine)
        for add in routes:
            add(app, engine)
        super().__init__(
            uvicorn.Config(
                app,
                http=cast(type[asyncio.Protocol], partial(Protocol, engine, Connections(engine.settings))),
                proxy_headers=False,  # see `service.rest.scope`
                lifespan="off",
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                headers=STRICT if context else [],
                backlog=BACKLOG,
                timeout_keep_alive=engine.settings.idle_timeout_s,  # type: ignore[arg-type]  # any number will do
                timeout_graceful_shutdown=max(1, round(engine.settings.grace_s)),
            )
        )
        self.context = context
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
        """Accept connections, and let `start` return. uvicorn's own method sets no time limits for TLS."""
        await self.lifespan.startup()
        self.servers = [await self.accept()]
        self.started = True
        self.listening.set()

    async def accept(self) -> asyncio.Server:
        """Return a server of the event loop on a duplicate of the listening socket, with TLS if there is a context."""
        loop = asyncio.get_running_loop()
        return await loop.create_server(self.protocol, sock=self.listener.dup(), backlog=BACKLOG, **self.tls)

    async def renew(self, context: ssl.SSLContext) -> None:
        """Replace the context for new connections.

        A server of the event loop keeps its context and therefore gets a successor. Both have duplicates of one
        socket, so no connection is lost that waits to be accepted.
        """
        if self.should_exit:
            return
        self.context, former = context, self.servers
        self.servers = [await self.accept()]
        for server in former:
            server.close()

    @property
    def tls(self) -> dict[str, Any]:
        """Return the arguments by which the event loop adds TLS to a connection."""
        if self.context is None:
            return {}
        return {"ssl": self.context, "ssl_handshake_timeout": HANDSHAKE_S, "ssl_shutdown_timeout": CLOSE_S}

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
        handshakes = [asyncio.create_task(self.take_over(opened)) for opened in waiting]
        await self.wait_for_late_requests()
        await super().shutdown(sockets)
        for handshake in handshakes:
            handshake.cancel()

    async def take_over(self, opened: socket.socket) -> None:
        """Serve a connection that was accepted here instead of by the event loop."""
        with suppress(OSError):  # a failed handshake
            await asyncio.get_running_loop().connect_accepted_socket(self.protocol, opened, **self.tls)

    async def wait_for_late_requests(self) -> None:
        """Wait for requests that are in transit: LATE_S, or LONGEST_LATE_S for connections without a request so far."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while loop.time() - began < (LONGEST_LATE_S if self.has_unused_connection() else LATE_S):  # noqa: ASYNC110
            await asyncio.sleep(LATE_S / 10)  # uvicorn has no event for the start of a request

    def has_unused_connection(self) -> bool:
        """Return whether any open connection has had no request."""
        return any(getattr(connection, "cycle", None) is None for connection in self.server_state.connections)

    def protocol(self) -> asyncio.Protocol:
        """Return the protocol of a new connection."""
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )


def accept_all(listener: socket.socket) -> Iterator[socket.socket]:
    """Yield the connections that wait to be accepted, which closing the listener would reset."""
    with suppress(BlockingIOError):
        while True:
            opened, _ = listener.accept()
            opened.setblocking(False)  # noqa: FBT003 - the standard library's signature
            yield opened
