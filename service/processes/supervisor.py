"""Starts the frontends and workers, watches them, restarts them, and drains them in order."""

import asyncio
import signal
import time

from service import limits, logs, metrics
from service.cores import shares
from service.ipc.messages import (
    DeviceChosen,
    Fatal,
    FrontendGone,
    Heartbeat,
    ModelOrder,
    Ready,
    Released,
    Stop,
    WorkerModels,
    WorkerStates,
    address,
)
from service.ipc.transport import ServerSocket
from service.processes import health
from service.processes.child import CONTROL, Attempt, settings_with_keys
from service.processes.ending import wait_or_kill, wait_until_set
from service.processes.listening import reserve
from service.processes.model_control import ModelControl
from service.processes.model_orders import ModelOrders
from service.processes.repository import ModelRepository
from service.processes.runtime_folder import RuntimeFolder
from service.processes.served import ServedModels
from service.processes.service_manager import ServiceManager
from service.processes.slot import ProcessSlot
from service.processes.slots import Slots
from service.settings import Settings
from twins.zoo.models import ModelReference

EXIT_OK, EXIT_MODEL, EXIT_CUT_OFF, EXIT_BROKEN = 0, 3, 4, 5
FOLDER_S = 0.5  # between two checks of the run-time folder
KILL_AFTER_S = 5.0  # until a worker that was sent Stop is killed
MARGIN_S = 5.0  # for a frontend to exit after its last answer

log = logs.get()


class Supervisor:
    """The parent of all processes."""

    def __init__(self, settings: Settings, folder: RuntimeFolder, models: tuple[ModelReference, ...]) -> None:
        self.settings, self.folder, self.models = settings, folder, ServedModels(models)
        self.control = ServerSocket(address(folder.path, CONTROL))
        self.slots = Slots()
        self.supervising: dict[str, asyncio.Task[None]] = {}
        self.model_control = ModelControl(self.models, self.control, self.slots, self.publish)
        self.repository = ModelRepository(settings.model_repository, models, self.model_control)
        self.orders = ModelOrders(self.control, self.model_control, self.repository, self.on_broken)
        self.manager = ServiceManager.of_environment()
        self.stopping = asyncio.Event()
        self.kill_now = asyncio.Event()
        self.workers_stopping = asyncio.Event()
        self.code = EXIT_OK
        self.announced = False

    async def run(self) -> int:
        """Serve until a signal stops the service, and return the exit code."""
        loop = asyncio.get_running_loop()
        for kind in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(kind, self.on_signal)
        jobs = [
            self.listen(),
            self.keep_folder(),
            health.watch(lambda: self.slots.workers, self.settings, self.publish),
            self.manager.report(self.slots.values, self.settings.start_timeout_s),
        ]
        if self.settings.model_repository and self.settings.model_poll_s:
            jobs.append(self.repository.poll(self.settings.model_poll_s))
        tasks = [asyncio.create_task(job) for job in jobs]
        for task in tasks:
            task.add_done_callback(self.on_broken)
        self.watch_gpus()
        self.add_all()
        await self.stopping.wait()
        code = await self.stop()
        for task in tasks:
            task.cancel()
        self.control.close()
        return code

    def add_all(self) -> None:
        """Start the processes that the settings ask for."""
        for number, device in enumerate(self.settings.device):
            self.add(ProcessSlot(f"worker-{number}", device))
        for number in range(shares(self.settings).frontends):
            self.add(ProcessSlot(f"frontend-{number}"))

    def add(self, slot: ProcessSlot) -> None:
        """Start a process in a new slot, and keep one there."""
        self.slots[slot.role] = slot
        if slot.is_worker:
            metrics.worker_up(slot.role, up=False)
            metrics.workers_expected(len(self.slots.workers))
        self.supervising[slot.role] = asyncio.create_task(self.supervise(slot))
        self.supervising[slot.role].add_done_callback(self.on_broken)

    def watch_gpus(self) -> None:
        """Start reading the metrics of the GPUs, unless the service uses only the CPU."""
        if set(self.settings.device) != {"cpu"}:
            from service.processes import gpu

            gpu.watch()

    async def keep_folder(self) -> None:
        """Restore the run-time folder, and the supervisor's own files in it, whenever they are deleted.

        The processes still serve while that is impossible, so a failure is logged and tried again.
        """
        attempt = Attempt("the run-time folder cannot be restored")
        while True:
            with attempt:
                self.folder.restore()
                self.control.restore()
                metrics.restore_files()
            metrics.process_memory("supervisor")
            await asyncio.sleep(FOLDER_S)

    def on_broken(self, task: asyncio.Task[None]) -> None:
        """End the service when a task of the supervisor fails, because the processes are no longer watched."""
        if task.cancelled() or (error := task.exception()) is None:
            return
        log.error("supervisor failed", exc_info=error)
        self.end(EXIT_BROKEN)

    def end(self, code: int) -> None:
        """End the service at once, with that exit code."""
        self.code = code
        self.kill_now.set()
        self.stopping.set()

    def on_signal(self) -> None:
        """Drain the service at the first signal, and end it at the second."""
        if self.stopping.is_set():
            self.kill_now.set()
        self.stopping.set()

    # ------------------------------------------------------------------ one process

    async def supervise(self, slot: ProcessSlot) -> None:
        """Keep a process running in a slot while one is needed there."""
        while self.needed(slot):
            process = await slot.spawn(self.folder.path, settings_with_keys(self.settings), self.models.references)
            reason = await slot.watch(process, self.settings)
            metrics.process_gone(slot.pid)
            if not self.needed(slot):
                break
            await self.handle_exit(slot, reason)

    def needed(self, slot: ProcessSlot) -> bool:
        """Return whether a slot needs a process: a worker until the last answer, a frontend until the service stops."""
        return not (self.workers_stopping if slot.is_worker else self.stopping).is_set()

    async def handle_exit(self, slot: ProcessSlot, reason: str) -> None:
        """Report the exit to the processes that used this one, and wait before the next start."""
        slot.mark_exited()
        if slot.cannot_start:
            slot.failure = slot.failure or reason
            self.end_if_nothing_serves(EXIT_BROKEN)
        if slot.is_worker:
            metrics.worker_up(slot.role, up=False)
            await self.model_control.on_exit(slot)
            await self.publish()
        else:
            for worker in self.slots.workers:
                self.control.send(worker.name.encode(), FrontendGone(slot.name))
            await self.model_control.finish()
        metrics.restarted(slot.role, reason)
        log.warning("restarting", role=slot.role, reason=reason, in_s=slot.backoff_s)
        self.announce()
        await wait_until_set(self.workers_stopping if slot.is_worker else self.stopping, slot.backoff_s)

    def end_if_nothing_serves(self, code: int) -> None:
        """End a service that cannot start. A service that has been ready retries instead."""
        if self.stopping.is_set():
            return
        if failed := self.slots.unable_to_start():
            log.error("the service cannot start", reasons={slot.role: slot.failure for slot in failed})
            self.end(code)

    # ------------------------------------------------------------------ messages of the processes

    async def listen(self) -> None:
        """Handle the messages of all processes."""
        while True:
            peer, message, _ = await self.control.receive()
            self.orders.accept(message)
            slot = self.slots.of(peer.decode(errors="replace"))
            if slot is None:
                continue
            slot.last_heartbeat = time.monotonic()
            if isinstance(message, Heartbeat):
                slot.record(message)
            elif isinstance(message, DeviceChosen):
                self.on_device(slot, message)
            elif isinstance(message, Ready):
                await self.on_ready(slot, message)
            elif isinstance(message, Fatal):
                await self.on_fatal(slot, message)
            elif isinstance(message, WorkerModels):
                await self.model_control.on_models(slot, message)
            elif isinstance(message, Released):
                await self.model_control.on_released(slot, message)
            elif isinstance(message, ModelOrder):
                self.orders.start(self.orders.carry_out(slot.name, message))

    def on_device(self, slot: ProcessSlot, message: DeviceChosen) -> None:
        """Record the device of a worker for all its restarts. With `auto`, add a worker for each further GPU."""
        is_first_start = slot.device == "auto"  # a restarted process may see another number of GPUs
        further = range(1, message.device_count if is_first_start and self.settings.device == ("auto",) else 0)
        slot.device = message.device
        kind, _, _ = message.device.partition(":")
        for number in further:
            self.add(ProcessSlot(f"worker-{number}", f"{kind}:{number}"))

    async def on_ready(self, slot: ProcessSlot, message: Ready) -> None:
        """Record that a process is ready, and inform the frontends."""
        slot.mark_ready()
        if slot.is_worker:
            self.models.record(message.cards)
            self.model_control.notify()
            await self.model_control.update(slot)
            metrics.worker_up(slot.role, up=True)
        elif self.stopping.is_set():  # the signal may have come before the process could handle it
            slot.send(signal.SIGTERM)
        await self.publish()
        self.announce()

    async def on_fatal(self, slot: ProcessSlot, message: Fatal) -> None:
        """Record that a process cannot start. It is started again later, unless no process can start."""
        log.error("cannot start", role=slot.role, detail=message.detail)
        slot.cannot_start, slot.failure = True, message.detail
        self.control.send(slot.name.encode(), Stop())
        self.end_if_nothing_serves(EXIT_MODEL if slot.is_worker else EXIT_BROKEN)

    async def publish(self) -> None:
        """Send every frontend the states of all workers."""
        infos = self.slots.infos(self.folder.path, self.models)
        states = WorkerStates(infos, self.models.announced, tuple(self.models.draining))
        for slot in self.slots.ready_frontends:
            self.control.send(slot.name.encode(), states)

    def announce(self) -> None:
        """Log once that the service has started, and where it listens."""
        ready = self.slots.ready_workers
        if self.announced or not ready or not self.slots.start_finished:
            return
        self.announced = True
        self.manager.ready(self.slots.values())
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        log.info(
            "ready",
            http=f"{'https' if self.settings.tls_certificate else 'http'}://{host}:{self.settings.http_port}",
            grpc=f"{host}:{self.settings.grpc_port}",
            models=[card.key for card in self.models.announced],
            workers={"ready": len(ready), "expected": len(self.slots.workers)},
        )

    # ------------------------------------------------------------------ the end

    async def stop(self) -> int:
        """Drain the frontends, then end the workers, and return the exit code."""
        log.info("stopping")
        longest_s = self.settings.drain_delay_s + self.settings.grace_s + MARGIN_S
        metrics.drain_until(time.time() + longest_s + KILL_AFTER_S)
        self.manager.stop(longest_s + KILL_AFTER_S + MARGIN_S)
        for slot in self.slots.frontends:
            slot.send(signal.SIGTERM)
        in_time = await wait_or_kill(self.slots.frontends, self.supervising, longest_s, self.kill_now)
        self.workers_stopping.set()
        for slot in self.slots.workers:
            if not slot.ready:  # it does not receive messages while it loads
                slot.send(signal.SIGKILL)
            self.control.send(slot.name.encode(), Stop())
        await wait_or_kill(self.slots.workers, self.supervising, KILL_AFTER_S, self.kill_now)
        code = self.code or (EXIT_OK if in_time else EXIT_CUT_OFF)
        log.info("stopped", code=code)
        return code


def run(settings: Settings, folder: RuntimeFolder, models: tuple[ModelReference, ...]) -> int:
    """Serve resolved models, and return the exit code. Raises SettingsError if a port is taken."""
    limits.forbid_core_dumps()
    limits.raise_open_files()
    logs.configure(settings, process="supervisor", on_drop=metrics.log_line_dropped)
    with reserve(settings, "http_port") as http, reserve(settings, "grpc_port") as grpc:
        ports = {"http_port": http.getsockname()[1], "grpc_port": grpc.getsockname()[1]}
        actual = settings.model_copy(update=ports)

        async def main() -> int:
            return await Supervisor(actual, folder, models).run()

        return asyncio.run(main())
