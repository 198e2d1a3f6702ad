"""What a client sends on a connection of HTTP/1.1, in two pieces or more: heads, chunks and requests behind each other.

The first byte of an input is the size of the pieces; 0 stands for all at once.
"""

import asyncio

import uvicorn
from uvicorn.server import ServerState

from service.rest.connections import Connections
from service.rest.protocol import Protocol
from tests.fuzz.service import APPLICATION, ENGINE, LOOP
from tests.fuzz.target import Target
from tests.service.rest.test_protocol import Transport

CONFIG = uvicorn.Config(APPLICATION, lifespan="off", log_config=None)
CONFIG.load()
CONNECTIONS = Connections(ENGINE.settings)
STEPS = 60  # of the event loop before the client disconnects


async def connect(data: bytes, size: int) -> Transport:
    """Return a connection on which this arrived, after its answers."""
    transport = Transport()
    protocol = Protocol(ENGINE, CONNECTIONS, config=CONFIG, server_state=ServerState(), app_state={})
    protocol.connection_made(transport)
    for start in range(0, len(data), size):
        if not transport.closed:
            protocol.data_received(data[start : start + size])
    for _ in range(STEPS):
        await asyncio.sleep(0)
    protocol.connection_lost(None)
    for task in list(protocol.tasks):
        await task
    return transport


def run(data: bytes) -> None:
    """Let it arrive."""
    if data:
        transport = LOOP.run_until_complete(connect(data[1:], data[0] or len(data)))
        assert b"HTTP/1.1 500" not in transport.sent


TARGET = Target(run, max_bytes=2**11)
