"""The TLS handshake of one connection, which counts as open and gives way to others from the start."""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from service import metrics
from service.rest.connections import Connections, Reason
from service.rest.protocol import Protocol
from service.tls import HANDSHAKE_S, Certificates

LONGEST_END_S = 86_400.0
"""For a client to fetch what it is sent at the end of TLS. `service.rest.ending` bounds this long before by what the
client fetches, as it does without TLS."""

Handshakes = set["Handshake"]


class Handshake(asyncio.Protocol):
    """The protocol of a connection until its handshake is complete. Then another one takes over.

    The event loop could do this by itself, but it says nothing of a connection before the end of its handshake, and its
    servers cannot change their certificate.
    """

    def __init__(
        self, certificates: Certificates, connections: Connections, pending: Handshakes, follow: Callable[[], Protocol]
    ) -> None:
        self.certificates, self.account, self.pending, self.follow = certificates, connections, pending, follow
        self.early: list[bytes] = []
        self.transport: asyncio.Transport
        self.task: asyncio.Task[None]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the handshake, with the certificate of this moment."""
        self.transport = transport
        peer = transport.get_extra_info("peername")
        if reason := self.account.open(self, str(peer[0]) if isinstance(peer, tuple) else ""):
            self.end(reason)
            return
        self.pending.add(self)
        self.task = asyncio.create_task(self.run(self.certificates.current.context))
        self.task.add_done_callback(self.forget)
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, self.feed)  # behind what `start_tls` schedules in the first step of the task

    def data_received(self, data: bytes) -> None:
        """Keep what arrives before TLS starts, or in one step of the event loop with the end of the handshake."""
        self.early.append(bytes(data))

    def feed(self) -> None:
        """Pass to TLS what has arrived before it started, and before more of it is read."""
        protocol: Any = self.transport.get_protocol()  # one with buffers, which the stubs do not know
        early, self.early = self.early, []
        if protocol is not self and not self.transport.is_closing():
            for data in early:
                buffer = protocol.get_buffer(len(data))
                buffer[: len(data)] = data
                protocol.buffer_updated(len(data))

    async def run(self, context: ssl.SSLContext) -> None:
        """Start the handshake, and pass the connection on. A failure closes the connection and is not logged."""
        if self.transport.is_closing():
            return
        start = partial(asyncio.get_running_loop().start_tls, self.transport, self, context, server_side=True)
        with suppress(OSError):
            secure = await start(ssl_handshake_timeout=HANDSHAKE_S, ssl_shutdown_timeout=LONGEST_END_S)
            if secure is not None and not secure.is_closing():
                self.pass_on(secure)

    def pass_on(self, secure: asyncio.Transport) -> None:
        """Return the connection to the event loop with the protocol that reads requests."""
        self.account.close(self)
        protocol = self.follow()
        protocol.beneath = self.transport
        secure.set_protocol(protocol)
        protocol.connection_made(secure)
        for data in self.early:
            protocol.data_received(data)

    def forget(self, _: asyncio.Task[None]) -> None:
        """Remove the handshake from those that are pending."""
        self.pending.discard(self)
        self.account.close(self)

    def end(self, reason: Reason) -> None:
        """End the connection without an answer, which its client could not read."""
        metrics.connection_refused("http", reason)
        self.transport.abort()
