"""The gRPC server of a frontend, in this process, over a pool without workers."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import grpc
import pytest

from service.core.engine import Engine
from service.oip import servicer as oip_servicer
from service.rpc.server import Server
from service.settings import Settings
from tests.service.core.engines import FakePool


@dataclass
class Running:
    """A server that listens."""

    server: Server
    engine: Engine
    pool: FakePool
    target: str
    channel: grpc.aio.Channel = field(init=False)


@asynccontextmanager
async def serving(**settings: object) -> AsyncIterator[Running]:
    """Run a server with these settings."""
    pool = FakePool()
    engine = Engine(Settings(**settings), pool)
    server = Server(engine, [oip_servicer.add])
    running = Running(server, engine, pool, f"127.0.0.1:{await server.start('127.0.0.1', 0)}")
    async with grpc.aio.insecure_channel(running.target) as running.channel:
        yield running
    await server.server.stop(None)


@pytest.fixture
async def serve() -> AsyncIterator[Callable]:
    """Return a function that starts a server with settings."""
    async with AsyncExitStack() as servers:

        async def start(**settings: object) -> Running:
            return await servers.enter_async_context(serving(**settings))

        yield start
