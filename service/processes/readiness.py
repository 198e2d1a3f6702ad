"""Tells the health check of the container whether a frontend is ready, without TLS.

With mutual TLS, `/readyz` needs a client's certificate, which the health check does not have. It asks over an abstract
Unix socket instead: the other programs of the container, or of the machine, may connect, and learn nothing else.
"""

import asyncio

from service import logs
from service.core.engine import Engine

READY, NOT_READY = b"ready", b"not ready"

log = logs.get()


def address(host: str, http_port: int, slot: int) -> str:
    """Return the address of the frontend in a slot. `docker/ready.py` has the same."""
    return f"\0twins-ready-{host}-{http_port}-{slot}"


async def serve(engine: Engine, path: str) -> asyncio.Server | None:
    """Answer every connection with one word, and close it.

    Any program of the machine may have taken the address. That is logged, and the service works without the check.
    """

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(READY if engine.ready else NOT_READY)
        writer.close()

    try:
        return await asyncio.start_unix_server(answer, path)
    except OSError as error:
        log.warning("the health check over a Unix socket cannot work", address=path[1:], detail=str(error))
        return None
