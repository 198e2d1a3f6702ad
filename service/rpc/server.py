"""Start and stop the gRPC server, with health and reflection."""

import asyncio
import time
from collections.abc import Callable, Sequence

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from service.core.engine import Engine
from service.pb.twins.v1 import twins_pb2 as pb
from service.pb.twins.v1 import twins_pb2_grpc as pb_grpc
from service.rpc.answering import Answering
from service.rpc.closing import ClosingHealth, ClosingReflection
from service.rpc.context import CallInfoInterceptor
from service.rpc.credentials import add_port
from service.rpc.guard import Guard
from service.rpc.limits import CallLimits, server_options
from service.rpc.servicer import Servicer
from service.tls import Certificates

QUIET_S, MAX_QUIET_S = 0.1, 1.5  # time without a new call before the end, and the longest wait for it
NOTICE_S = 0.02  # time for clients to learn of the end
FAREWELL_S = 2.0  # time for clients without calls to close their connections; the library would wait for the grace
SERVICE = pb.DESCRIPTOR.services_by_name["Twins"].full_name

AddService = Callable[[Engine, Answering, grpc.aio.Server], str]
"""Adds a service to a server and returns its name."""


class Server:
    """The gRPC server with health and reflection."""

    def __init__(
        self, engine: Engine, services: Sequence[AddService] = (), certificates: Certificates | None = None
    ) -> None:
        self.certificates = certificates
        self.answering, self.end_streams = Answering(), engine.close
        self.limits = CallLimits(engine.settings, engine.memory, engine.trusted_networks)
        guard = Guard(engine, self.answering, self.limits)
        self.server = grpc.aio.server(
            interceptors=[CallInfoInterceptor(engine.trusted_networks, engine.tracer), guard],
            options=server_options(engine.settings),
        )
        self.health = ClosingHealth(engine.closing)
        self.tasks: set[asyncio.Task[None]] = set()
        self.services = [add(engine, self.answering, self.server) for add in (add_twins, *services)]
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)
        standard = [
            health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
            reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"].full_name,
        ]
        reflection = ClosingReflection((*self.services, *standard), engine.closing)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflection, self.server)
        engine.on_ready_change.append(self.show_ready)

    async def start(self, host: str, port: int) -> int:
        """Start listening, and return the port. The server is not ready until the engine is."""
        await self.set_health(ready=False)
        port = add_port(self.server, f"[{host}]:{port}" if ":" in host else f"{host}:{port}", self.certificates)
        await self.server.start()
        return port

    async def wait(self) -> None:
        """Return when the server has ended, for whatever reason."""
        await self.server.wait_for_termination()

    def show_ready(self, ready: bool) -> None:  # noqa: FBT001 - a callback
        """Report the readiness of the engine as the health of the server."""
        task = asyncio.create_task(self.set_health(ready=ready))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def set_health(self, *, ready: bool) -> None:
        """Set the health of the whole server and of each service by name."""
        status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *self.services):
            await self.health.set(name, status)

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


def add_twins(engine: Engine, answering: Answering, server: grpc.aio.Server) -> str:
    """Add the service `twins.v1.Twins` to a server. Return its name."""
    pb_grpc.add_TwinsServicer_to_server(Servicer(engine, answering), server)  # type: ignore[no-untyped-call]
    return SERVICE
