"""The frontend process: it serves HTTP and gRPC. It uses no device and never imports torch."""

import asyncio
import gc
import signal

from service import logs, metrics
from service.core.engine import Engine
from service.dialects import routes as dialect_routes
from service.ipc.messages import ModelOrderDone, Ready, Released, WorkerStates
from service.ipc.orders import SupervisorOrders
from service.ipc.pool import ProcessPool
from service.ipc.transport import ClientSocket
from service.oip import routes as oip_routes
from service.oip import servicer
from service.processes import child, readiness
from service.processes.child import ChildConfig
from service.processes.listening import listen
from service.rest import server as rest
from service.rpc import server as rpc
from service.settings import Settings, SettingsError
from service.tls import Certificates, open_certificates
from service.tracing.tracer import open_tracer
from service.web import pages
from twins import __version__

START_S = 60.0  # for both servers to listen, which takes far less than a second

log = logs.get()


async def main(config: ChildConfig, settings: Settings, control: ClientSocket) -> None:
    """Serve until SIGTERM, then answer everything in flight. Raises RuntimeError if a server or a task ends early."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    metrics.version(__version__)
    pool = ProcessPool(config.name)
    orders = SupervisorOrders(control, settings.start_timeout_s)
    tracer = open_tracer(settings, process=config.role, on_lost=metrics.spans_lost)
    engine = Engine(settings, pool, orders, tracer)
    certificates = await read_certificates(settings, control)
    web = rest.Server(engine, [oip_routes.add, dialect_routes.add, pages.add], certificates)
    rpc_server = rpc.Server(engine, [servicer.add], certificates)
    try:
        async with asyncio.timeout(START_S):
            await web.start(listen(settings.host, settings.http_port))
            await rpc_server.start(settings.host, settings.grpc_port)
            if settings.tls_client_ca:
                await readiness.serve(engine, readiness.address(settings.host, settings.http_port, config.slot))
    except (OSError, RuntimeError) as error:
        await child.report_fatal(
            control, f"cannot listen on {settings.host}: {str(error) or 'the start takes too long'}"
        )
    gc.freeze()  # a full collection would stop the event loop for 50 ms to look at what is never collected
    control.send(Ready())
    running = {
        "heartbeat": asyncio.create_task(child.send_heartbeats(config, control)),
        "worker states": asyncio.create_task(follow(control, engine, pool, orders)),
        "HTTP server": asyncio.create_task(web.wait()),
        "gRPC server": asyncio.create_task(rpc_server.wait()),
    }
    if settings.keys_file:
        running["keys file"] = asyncio.create_task(engine.keys.follow())
    if certificates:
        running["certificates"] = asyncio.create_task(certificates.follow())
    await wait_for_stop(stop, running)
    await drain(engine, web, rpc_server)
    await asyncio.to_thread(tracer.close)
    pool.close()
    for task in running.values():
        task.cancel()


async def read_certificates(settings: Settings, control: ClientSocket) -> Certificates | None:
    """Return the certificates for TLS, if it is on. If they are broken, report that and end the process."""
    try:
        return open_certificates(settings)
    except SettingsError as error:
        await child.report_fatal(control, str(error))


async def wait_for_stop(stop: asyncio.Event, running: dict[str, asyncio.Task[None]]) -> None:
    """Return when the event is set. Raises RuntimeError if one of the tasks ends first."""
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([*running.values(), stopping], return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        stopping.cancel()
        name, ended = next((name, task) for name, task in running.items() if task.done())
        raise RuntimeError(f"the {name} of this frontend has ended") from ended.exception()


async def follow(control: ClientSocket, engine: Engine, pool: ProcessPool, orders: SupervisorOrders) -> None:
    """Update the pool from the supervisor's messages, release models that are to be unloaded, and pass on replies."""
    releasing: dict[str, asyncio.Task[None]] = {}
    while True:
        message, _ = await control.receive()
        if isinstance(message, ModelOrderDone):
            orders.on_done(message)
        elif isinstance(message, WorkerStates):
            pool.update(message)
            for key in message.unloading:
                if key not in releasing:
                    releasing[key] = asyncio.create_task(release(key, control, engine))
            for key in releasing.keys() - set(message.unloading):
                del releasing[key]


async def release(key: str, control: ClientSocket, engine: Engine) -> None:
    """Wait until all calls for a drained model are answered, and report that to the supervisor."""
    await engine.admission.wait_until_idle(key)
    control.send(Released(key))


async def drain(engine: Engine, web: rest.Server, rpc_server: rpc.Server) -> None:
    """Report not ready and keep serving for the drain delay. Then accept no connections, and answer all calls."""
    log.info("draining", seconds=engine.settings.drain_delay_s)
    engine.start_draining()
    await asyncio.sleep(engine.settings.drain_delay_s)
    async with asyncio.TaskGroup() as group:
        group.create_task(web.stop())
        group.create_task(rpc_server.stop(engine.settings.grace_s))
    log.info("drained", in_flight=engine.admission.in_flight)


if __name__ == "__main__":
    child.start(main)
