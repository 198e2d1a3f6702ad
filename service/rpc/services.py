"""All gRPC services over an engine, and what guards their methods, for whatever server calls them."""

import asyncio
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
from service.rpc.guard import Guard
from service.rpc.limits import CallLimits
from service.rpc.servicer import Servicer

SERVICE = pb.DESCRIPTOR.services_by_name["Twins"].full_name
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name

AddService = Callable[[Engine, Answering, grpc.aio.Server], str]
"""Adds a service to a server and returns its name."""


class Services:
    """The services of an engine, with health and reflection."""

    def __init__(self, engine: Engine, added: Sequence[AddService] = ()) -> None:
        self.engine, self.added = engine, added
        self.answering = Answering()
        self.limits = CallLimits(engine.settings, engine.memory, engine.trusted_networks)
        self.interceptors = [
            CallInfoInterceptor(engine.trusted_networks, engine.tracer),
            Guard(engine, self.answering, self.limits),
        ]
        self.health = ClosingHealth(engine.closing)
        self.names: list[str] = []  # without the standard services
        self.tasks: set[asyncio.Task[None]] = set()
        engine.on_ready_change.append(self.show_ready)

    def add_to(self, server: grpc.aio.Server) -> None:
        """Add all services to a server."""
        self.names = [add(self.engine, self.answering, server) for add in (add_twins, *self.added)]
        health_pb2_grpc.add_HealthServicer_to_server(self.health, server)
        standard = [HEALTH, reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"].full_name]
        reflection = ClosingReflection((*self.names, *standard), self.engine.closing)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflection, server)

    def show_ready(self, ready: bool) -> None:  # noqa: FBT001 - a callback
        """Report the readiness of the engine as the health of the server."""
        task = asyncio.create_task(self.set_health(ready=ready))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def set_health(self, *, ready: bool) -> None:
        """Set the health of the whole server and of each service by name."""
        status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *self.names):
            await self.health.set(name, status)


def add_twins(engine: Engine, answering: Answering, server: grpc.aio.Server) -> str:
    """Add the service `twins.v1.Twins` to a server. Return its name."""
    pb_grpc.add_TwinsServicer_to_server(Servicer(engine, answering), server)  # type: ignore[no-untyped-call]
    return SERVICE
