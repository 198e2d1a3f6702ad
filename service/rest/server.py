"""The HTTP server's life: uvicorn, without its signal handling and with a shutdown that loses nobody."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import uvicorn

from service.core.engine import Engine
from service.rest.app import build

LINGER_S, LONGEST_LINGER_S = 0.3, 2.0  # for requests on their way over connections open when listening ended
BACKLOG = 2048


class Server(uvicorn.Server):
    """One frontend's HTTP server."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(
            uvicorn.Config(
                build(engine),
                http="h11",  # slower than the other parser, but it bounds what a client's headers may take
                lifespan="off",
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                backlog=BACKLOG,
                timeout_keep_alive=75,  # longer than load balancers', so that they close first
                timeout_graceful_shutdown=max(1, round(engine.settings.grace_s)),
            )
        )
        self.serving: asyncio.Task[None] | None = None
        self.listening = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The frontend decides when to stop."""
        yield

    async def start(self, listener: socket.socket) -> None:
        """Serves on a listening socket."""
        self.serving = asyncio.create_task(self.serve([listener]))
        await self.listening.wait()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Tells `start` when it is done."""
        await super().startup(sockets)
        self.listening.set()

    async def stop(self) -> None:
        """Ends when every request is answered."""
        self.should_exit = True
        if self.serving:
            await self.serving

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stops listening, then gives requests that clients are sending over open connections a moment to arrive."""
        waiting = [opened for listener in sockets or [] for opened in accept_all(listener)]
        for server in self.servers:
            server.close()
        for opened in waiting:
            await asyncio.get_running_loop().connect_accepted_socket(self.protocol, opened)
        await self.linger()
        await super().shutdown(sockets)

    async def linger(self) -> None:
        """Waits for requests on their way: a moment for all, longer for those who have not asked anything yet."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while (waited_s := loop.time() - began) < LINGER_S or (waited_s < LONGEST_LINGER_S and self.has_fresh()):  # noqa: ASYNC110
            await asyncio.sleep(LINGER_S / 10)  # uvicorn tells nobody when a request begins

    def has_fresh(self) -> bool:
        """Whether a connection is open on which no request has come."""
        return any(getattr(connection, "cycle", None) is None for connection in self.server_state.connections)

    def protocol(self) -> asyncio.Protocol:
        """What speaks HTTP on a connection that was accepted here rather than by the loop."""
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )


def accept_all(listener: socket.socket) -> Iterator[socket.socket]:
    """The connections that wait to be accepted: closing the listener would reset them."""
    with suppress(BlockingIOError):
        while True:
            opened, _ = listener.accept()
            opened.setblocking(False)  # noqa: FBT003 - the standard library's signature
            yield opened
