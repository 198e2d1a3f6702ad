"""Start and stop the gRPC server, with health and reflection."""

import asyncio
import time
from collections.abc import Sequence

import grpc

from service.core.engine import Engine
from service.rpc.credentials import add_port
from service.rpc.limits import server_options
from service.rpc.services import AddService, Services
from service.tls import Certificates

QUIET_S, MAX_QUIET_S = 0.1, 1.5  # time without a new call before the end, and the longest wait for it
NOTICE_S = 0.02  # time for clients to learn of the end
FAREWELL_S = 2.0  # time for clients without calls to close their connections; the library would wait for the grace


class Server:
    """The gRPC server with health and reflection."""

    def __init__(
        self, engine: Engine, services: Sequence[AddService] = (), certificates: Certificates | None = None
    ) -> None:
        self.certificates = certificates
        self.services = Services(engine, services)
        self.answering, self.limits, self.end_streams = self.services.answering, self.services.limits, engine.close
        self.server = grpc.aio.server(interceptors=self.services.interceptors, options=server_options(engine.settings))
        self.services.add_to(self.server)

    async def start(self, host: str, port: int) -> int:
        """Start listening, and return the port. The server is not ready until the engine is."""
        await self.services.set_health(ready=False)
        port = add_port(self.server, f"[{host}]:{port}" if ":" in host else f"{host}:{port}", self.certificates)
        await self.server.start()
        return port

    async def wait(self) -> None:
        """Return when the server has ended, for whatever reason."""
        await self.server.wait_for_termination()

    async def stop(self, grace_s: float) -> None:
        """Accept no new calls, and return when the calls in flight are answered, or the grace has passed.

        The library cancels calls that have arrived but have not been passed to a handler. Therefore answers are delayed
        until all calls have been passed on and the clients have been notified. A client that waits for an answer
        sends no further call. Streams end after the clients have been notified, since a client opens the next one at
        once, and would be refused on the same connection.
        """
        self.answering.free.clear()
        await self.wait_for_quiet()
        stopping = asyncio.create_task(self.server.stop(grace_s))
        await asyncio.sleep(NOTICE_S)
        self.answering.free.set()
        self.end_streams()
        while self.limits.open and not stopping.done():  # noqa: ASYNC110 - as below
            await asyncio.sleep(QUIET_S / 10)
        await asyncio.wait({stopping}, timeout=FAREWELL_S)
        await self.server.stop(None)
        await stopping

    async def wait_for_quiet(self) -> None:
        """Wait until no new call arrives, or for MAX_QUIET_S."""
        began = time.monotonic()
        while time.monotonic() < min(began + MAX_QUIET_S, max(began, self.answering.last_call) + QUIET_S):  # noqa: ASYNC110
            await asyncio.sleep(QUIET_S / 10)  # polling costs less than an event for every call
