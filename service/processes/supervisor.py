"""Starts the frontends and workers, watches them, restarts them, and drains them in config."""

import asyncio
import signal
import time
from pathlib import Path

from service import logs, metrics
from service.ipc.transport import Fatal, Heartbeat, Ready, ServerSocket, Stop, WorkerInfo, WorkerStates, address
from service.processes.child import CONTROL, write_settings
from service.processes.listening import reserve
from service.processes.slot import ProcessSlot
from service.settings import Settings
from twins.card import Card

EXIT_OK, EXIT_MODEL, EXIT_CUT_OFF, EXIT_BROKEN = 0, 3, 4, 5
KILL_AFTER_S = 5.0  # for a worker that was told to stop
MARGIN_S = 5.0  # for a frontend to end by itself, after the last of its clients
MAX_EARLY_EXITS = 5  # processes in a row that died before they got ready, at the start of the service

log = logs.get()


class Supervisor:
    """The parent of all processes."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self.control = ServerSocket(address(folder, CONTROL))
        self.slots: dict[str, ProcessSlot] = {}
        self.supervising: dict[str, asyncio.Task[None]] = {}
        self.cards: tuple[Card, ...] = ()
        self.stopping = asyncio.Event()
        self.cut_off = asyncio.Event()
        self.leaving = asyncio.Event()  # workers are not needed any more
        self.code = EXIT_OK
        self.announced = False

    async def run(self) -> int:
        """Serves until a signal says stop; the exit code."""
        loop = asyncio.get_running_loop()
        for kind in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(kind, self.on_signal)
        listening = asyncio.create_task(self.listen())
        listening.add_done_callback(self.on_broken)
        self.watch_gpus()
        for number, device in enumerate(self.settings.device):
            self.add(ProcessSlot(f"worker-{number}", number, device=device))
        for number in range(self.settings.frontends):
            self.add(ProcessSlot(f"frontend-{number}", number))
        await self.stopping.wait()
        code = await self.stop()
        listening.cancel()
        self.control.close()
        return code

    def add(self, slot: ProcessSlot) -> None:
        """Takes a slot into care."""
        self.slots[slot.role] = slot
        if slot.is_worker:
            metrics.worker_up(slot.role, up=False)
        self.supervising[slot.role] = asyncio.create_task(self.supervise(slot))
        self.supervising[slot.role].add_done_callback(self.on_broken)

    def watch_gpus(self) -> None:
        """Begins to read them, unless none is to be used."""
        if set(self.settings.device) != {"cpu"}:
            from service.processes import gpu

            gpu.watch()

    def on_broken(self, task: asyncio.Task[None]) -> None:
        """A task of ours that fails leaves nobody to watch: better an end than a service that only looks alive."""
        if task.cancelled() or (error := task.exception()) is None:
            return
        log.error("supervisor broke", exc_info=error)
        self.end(EXIT_BROKEN)

    def end(self, code: int) -> None:
        """Ends the service at once, with that exit code."""
        self.code = code
        self.cut_off.set()
        self.stopping.set()

    def on_signal(self) -> None:
        """The first one drains, the second one ends."""
        if self.stopping.is_set():
            self.cut_off.set()
        self.stopping.set()

    # ------------------------------------------------------------------ one process

    async def supervise(self, slot: ProcessSlot) -> None:
        """Keeps a process in a slot as long as it is needed there."""
        while self.needed(slot):
            process = await slot.spawn(str(self.folder))
            reason = await slot.watch(process, self.settings)
            metrics.process_gone(slot.pid)
            if not self.needed(slot):
                break
            await self.handle_exit(slot, reason)

    def needed(self, slot: ProcessSlot) -> bool:
        """Workers are needed until the last answer, frontends until the service is to stop."""
        return not (self.leaving if slot.is_worker else self.stopping).is_set()

    async def handle_exit(self, slot: ProcessSlot, reason: str) -> None:
        """Tells those concerned that a process is gone, and waits before the next one if they die early."""
        slot.mark_exited()
        if slot.early_exits >= MAX_EARLY_EXITS and not self.announced:
            log.error("gives up", role=slot.role, deaths=slot.early_exits)
            self.end(EXIT_BROKEN)
        if slot.is_worker:
            metrics.worker_up(slot.role, up=False)
            await self.publish()
        metrics.restarted(slot.role, reason)
        log.warning("restarting", role=slot.role, reason=reason, in_s=slot.backoff_s)
        await wait_until_set(self.leaving if slot.is_worker else self.stopping, slot.backoff_s)

    # ------------------------------------------------------------------ what they report

    async def listen(self) -> None:
        """Hears all children."""
        while True:
            peer, message, _ = await self.control.receive()
            slot = self.slots.get(peer.decode().partition(".")[0])
            if slot is None or slot.name != peer.decode():
                continue  # a last word from the dead
            slot.last_heartbeat = time.monotonic()
            metrics.process_memory("supervisor")
            if isinstance(message, Heartbeat):
                slot.busy_s = message.busy_s
            elif isinstance(message, Ready):
                await self.on_ready(slot, message)
            elif isinstance(message, Fatal):
                await self.on_fatal(slot, message)

    async def on_ready(self, slot: ProcessSlot, message: Ready) -> None:
        """A process serves."""
        slot.mark_ready()
        if slot.is_worker:
            self.cards = message.cards
            metrics.worker_up(slot.role, up=True)
            self.add_devices(message)
        await self.publish()
        self.notify_readiness()

    def add_devices(self, message: Ready) -> None:
        """Where the settings leave the device open, every one of the machine gets a worker."""
        if self.settings.device == ("auto",):
            for number in range(1, message.device_count):
                if f"worker-{number}" not in self.slots:
                    self.add(ProcessSlot(f"worker-{number}", number, device="auto"))

    async def on_fatal(self, slot: ProcessSlot, message: Fatal) -> None:
        """A process cannot start: nothing to serve if it never could, else something to be tried again."""
        log.error("cannot start", role=slot.role, detail=message.detail)
        await self.control.send(slot.name.encode(), Stop())
        if slot.generation == 0:
            self.end(EXIT_MODEL)

    async def publish(self) -> None:
        """Tells every frontend how things are."""
        workers = [slot for slot in self.slots.values() if slot.is_worker]
        infos = tuple(WorkerInfo(w.name, address(self.folder, w.name), w.state) for w in workers)
        for slot in self.slots.values():
            if not slot.is_worker and slot.ready:
                await self.control.send(slot.name.encode(), WorkerStates(infos, self.cards))

    def notify_readiness(self) -> None:
        """Says once that everything is up, and where."""
        if self.announced or not all(slot.ready for slot in self.slots.values()):
            return
        self.announced = True
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        log.info(
            "ready",
            http=f"http://{host}:{self.settings.http_port}",
            grpc=f"{host}:{self.settings.grpc_port}",
            models=[card.name for card in self.cards],
        )

    # ------------------------------------------------------------------ the end

    async def stop(self) -> int:
        """Frontends drain, then workers leave; the exit code."""
        log.info("stopping")
        longest_s = self.settings.drain_delay_s + self.settings.grace_s + MARGIN_S
        metrics.drain_until(time.time() + longest_s + KILL_AFTER_S)
        frontends = [slot for slot in self.slots.values() if not slot.is_worker]
        for slot in frontends:
            slot.send(signal.SIGTERM)
        in_time = await self.ended(frontends, longest_s)
        self.leaving.set()
        workers = [slot for slot in self.slots.values() if slot.is_worker]
        for slot in workers:
            if not slot.ready:  # it does not listen while it loads
                slot.send(signal.SIGKILL)
            await self.control.send(slot.name.encode(), Stop())
        await self.ended(workers, KILL_AFTER_S)
        code = self.code or (EXIT_OK if in_time else EXIT_CUT_OFF)
        log.info("stopped", code=code)
        return code

    async def ended(self, slots: list[ProcessSlot], timeout_s: float) -> bool:
        """Waits for processes to end, and kills them after that time or at a second signal; whether they ended."""
        tasks = {self.supervising[slot.role] for slot in slots}
        impatient = asyncio.create_task(self.cut_off.wait())
        until = time.monotonic() + timeout_s
        while pending := {task for task in tasks if not task.done()}:
            left_s = until - time.monotonic()
            if left_s <= 0 or impatient.done():
                break
            await asyncio.wait({*pending, impatient}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        impatient.cancel()
        for slot in slots:
            if not self.supervising[slot.role].done():
                slot.send(signal.SIGKILL)
        await asyncio.gather(*tasks, return_exceptions=True)
        return not pending


async def wait_until_set(event: asyncio.Event, seconds: float) -> None:
    """Returns at the event, or after that time."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


def run(settings: Settings, folder: Path) -> int:
    """Serves; the exit code. Raises SettingsError if a port is taken."""
    logs.configure(settings, process="supervisor")
    with reserve(settings.host, settings.http_port) as http, reserve(settings.host, settings.grpc_port) as grpc:
        ports = {"http_port": http.getsockname()[1], "grpc_port": grpc.getsockname()[1]}
        actual = settings.model_copy(update=ports)
        write_settings(folder, actual)

        async def main() -> int:
            return await Supervisor(actual, folder).run()

        return asyncio.run(main())
