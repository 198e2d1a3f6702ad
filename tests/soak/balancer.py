"""A load balancer for the connections of both protocols, which goes by /readyz."""

import asyncio
import itertools
import threading
from contextlib import suppress

import aiohttp

from tests.server import wait_until
from tests.soak.clients import Address

INTERVAL_S = 0.1  # of the health checks
CHUNK = 65536


class Balancer:
    """Forwards each new connection to an instance that is ready. It has a thread of its own."""

    def __init__(self) -> None:
        self.instances: list[Address] = []
        self.ready: list[Address] = []
        self.turn = itertools.count()
        self.stopped = threading.Event()
        self.address: Address | None = None
        self.thread = threading.Thread(target=lambda: asyncio.run(self.serve()))

    def __enter__(self) -> Address:
        self.thread.start()
        return wait_until(lambda: self.address, what="the balancer")

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.thread.join()

    def use(self, instance: Address) -> None:
        """Add an instance, and wait until new connections go there too."""
        self.instances.append(instance)
        wait_until(lambda: instance in self.ready, what="a ready instance")

    async def serve(self) -> None:
        """Listen on two ports and check the health of the instances."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
            http = await asyncio.start_server(lambda *ends: self.forward("http", *ends), "127.0.0.1", 0)
            rpc = await asyncio.start_server(lambda *ends: self.forward("grpc", *ends), "127.0.0.1", 0)
            ports = [server.sockets[0].getsockname()[1] for server in (http, rpc)]
            self.address = Address(f"http://127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}")
            while not self.stopped.is_set():
                self.ready = [instance for instance in self.instances if await is_ready(session, instance)]
                await asyncio.sleep(INTERVAL_S)
            for server in (http, rpc):
                server.close()

    async def forward(self, protocol: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect a client to an instance until both have closed their ends."""
        for _ in range(len(self.ready)):
            instance = self.ready[next(self.turn) % len(self.ready)]
            host, _, port = getattr(instance, protocol).rpartition("/")[2].partition(":")
            with suppress(OSError):
                there, back = await asyncio.open_connection(host, int(port))
                await asyncio.gather(pump(reader, back), pump(there, writer))
                return
        writer.close()


async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Copy bytes until the source ends, and then end the target."""
    with suppress(OSError):
        while data := await source.read(CHUNK):
            target.write(data)
            await target.drain()
    target.close()


async def is_ready(session: aiohttp.ClientSession, instance: Address) -> bool:
    """Return whether an instance says that it is ready."""
    try:
        async with session.get(f"{instance.http}/readyz") as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False
