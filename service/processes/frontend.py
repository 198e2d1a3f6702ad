"""A process that speaks HTTP and gRPC and owns no device. It never imports torch."""

import asyncio
import signal

from service import logs, metrics
from service.core.engine import Engine
from service.ipc.pool import WorkerPool
from service.ipc.transport import ClientSocket, Ready, WorkerStates
from service.processes import child
from service.processes.child import ChildConfig
from service.processes.listening import listen
from service.rest import server as rest
from service.rpc import server as rpc
from service.settings import Settings
from twins import __version__

log = logs.get()


async def main(config: ChildConfig, settings: Settings, control: ClientSocket) -> None:
    """A frontend's life: serves until it is told to stop, then answers everything in flight."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    metrics.version(__version__)
    pool = WorkerPool()
    engine = Engine(settings, pool)
    web, rpc_server = rest.Server(engine), rpc.Server(engine)
    await web.start(listen(settings.host, settings.http_port))
    await rpc_server.start(settings.host, settings.grpc_port)
    await control.send(Ready())
    tasks = [asyncio.create_task(child.send_heartbeats(config, control)), asyncio.create_task(follow(control, engine))]
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        raise RuntimeError("a frontend's task ended") from next(task for task in tasks if task.done()).exception()
    await drain(engine, web, rpc_server)
    pool.close()
    for task in tasks:
        task.cancel()


async def follow(control: ClientSocket, engine: Engine) -> None:
    """Keeps the engine informed of the workers."""
    while True:
        message, _ = await control.receive()
        if isinstance(message, WorkerStates):
            engine.update(message)


async def drain(engine: Engine, web: rest.Server, rpc_server: rpc.Server) -> None:
    """Not ready, but serving on for a moment; then no new connections; then the last answers."""
    log.info("draining", seconds=engine.settings.drain_delay_s)
    engine.start_draining()
    await asyncio.sleep(engine.settings.drain_delay_s)
    async with asyncio.TaskGroup() as group:
        group.create_task(web.stop())
        group.create_task(stop_rpc(engine, rpc_server))
    log.info("drained", in_flight=engine.admission.in_flight)


async def stop_rpc(engine: Engine, rpc_server: rpc.Server) -> None:
    """Streams are asked to end; calls in flight are answered."""
    engine.close()
    await rpc_server.stop(engine.settings.grace_s)


if __name__ == "__main__":
    child.start(main)
