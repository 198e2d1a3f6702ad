"""Starts the frontends and workers, watches them, restarts them, and drains them in order."""

import asyncio
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from service import logs, metrics
from service.child import CONTROL, Order, write_settings
from service.listening import reserve
from service.settings import Settings, child_environment
from service.transport import Beat, Fatal, Fleet, Listener, Ready, Stop, WorkerInfo, WorkerState, address
from twins.card import Card

EXIT_OK, EXIT_CUT_OFF, EXIT_MODEL = 0, 4, 3
WATCH_S = 0.2
KILL_AFTER_S = 5.0  # for a worker that was told to stop
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.5, 30.0

log = logs.get()


@dataclass
class Child:
    """One place for a process, and the process that is in it at the moment."""

    role: str  # "worker-0"
    place: int
    device: str = ""  # a worker's
    generation: int = -1
    pid: int = 0
    started: float = 0.0
    last_beat: float = 0.0
    busy_s: float = 0.0
    ready: bool = False
    failures: int = 0  # in a row, before it got ready
    state: WorkerState = "loading"

    @property
    def name(self) -> str:
        """This process's, unlike all before it."""
        return f"{self.role}.{self.generation}"

    @property
    def is_worker(self) -> bool:
        """Whether it has a device."""
        return bool(self.device)

    def sick(self, settings: Settings, now: float) -> str | None:
        """Why this process should be killed, if it should."""
        if not self.ready:
            return "slow start" if now - self.started > settings.start_timeout_s else None
        silent_s = now - self.last_beat
        return "hang" if max(silent_s, self.busy_s) > settings.hang_timeout_s else None


class Supervisor:
    """The parent of all processes."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self.control = Listener(address(folder, CONTROL))
        self.children: dict[str, Child] = {}
        self.keeping: dict[str, asyncio.Task[None]] = {}
        self.cards: tuple[Card, ...] = ()
        self.stopping = asyncio.Event()
        self.cut_off = asyncio.Event()
        self.leaving = asyncio.Event()  # workers are not needed any more
        self.fatal: str | None = None
        self.announced = False

    async def run(self) -> int:
        """Serves until a signal says stop; the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.on_signal)
        listening = asyncio.create_task(self.listen())
        listening.add_done_callback(self.on_broken)
        for place, device in enumerate(self.settings.device):
            self.add(Child(f"worker-{place}", place, device=device))
        for place in range(self.settings.frontends):
            self.add(Child(f"frontend-{place}", place))
        await self.stopping.wait()
        code = await self.stop()
        listening.cancel()
        self.control.close()
        return code

    def add(self, child: Child) -> None:
        """Takes a place into care."""
        self.children[child.role] = child
        self.keeping[child.role] = asyncio.create_task(self.keep(child))
        self.keeping[child.role].add_done_callback(self.on_broken)

    def on_broken(self, task: asyncio.Task[None]) -> None:
        """A task of ours that fails leaves nobody to watch: better an end than a service that only looks alive."""
        if task.cancelled() or (error := task.exception()) is None:
            return
        log.error("supervisor broke", exc_info=error)
        self.fatal = str(error)
        self.cut_off.set()
        self.stopping.set()

    def on_signal(self) -> None:
        """The first one drains, the second one ends."""
        if self.stopping.is_set():
            self.cut_off.set()
        self.stopping.set()

    # ------------------------------------------------------------------ one process

    async def keep(self, child: Child) -> None:
        """Keeps a process in a place as long as it is needed there."""
        while self.needed(child):
            process = await self.spawn(child)
            reason = await self.watch(child, process)
            metrics.process_gone(child.pid)
            if not self.needed(child):
                break
            await self.mourn(child, reason)

    def needed(self, child: Child) -> bool:
        """Workers are needed until the last answer, frontends until the service is to stop."""
        return not (self.leaving if child.is_worker else self.stopping).is_set()

    async def spawn(self, child: Child) -> asyncio.subprocess.Process:
        """Starts the next process in a place."""
        child.generation += 1
        child.ready, child.busy_s = False, 0.0
        child.started = child.last_beat = time.monotonic()
        order = Order(child.name, str(self.folder), os.getpid(), child.place, child.device)
        module = "service.worker" if child.is_worker else "service.frontend"
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            msgspec.json.encode(order).decode(),
            env=child_environment(),
            start_new_session=True,  # signals to our group are ours to pass on
        )
        child.pid = process.pid
        log.info("started", role=child.role, pid=child.pid)
        return process

    async def watch(self, child: Child, process: asyncio.subprocess.Process) -> str:
        """Waits for the process's end, bringing it about if it hangs; the reason."""
        killed_for = None
        ended = asyncio.create_task(process.wait())
        while not ended.done():
            await asyncio.wait({ended}, timeout=WATCH_S)
            if killed_for is None and not ended.done():
                killed_for = child.sick(self.settings, time.monotonic())
                if killed_for:
                    log.error("killing", role=child.role, pid=child.pid, reason=killed_for)
                    process.kill()
        return killed_for or describe_exit(ended.result())

    async def mourn(self, child: Child, reason: str) -> None:
        """Tells those concerned that a process is gone, and waits before the next one if they die early."""
        child.failures = 0 if child.ready else child.failures + 1
        child.ready = False
        if child.is_worker:
            known_good = child.state in ("ready", "recovering") and child.failures < 2
            child.state = "recovering" if known_good else "broken" if child.failures > 1 else "loading"
            metrics.worker_up(child.role, up=False)
            await self.publish()
        metrics.restarted(child.role, reason)
        backoff_s = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2**child.failures) if child.failures else 0.0
        log.warning("restarting", role=child.role, reason=reason, in_s=backoff_s)
        await wait_at_most(self.leaving if child.is_worker else self.stopping, backoff_s)

    # ------------------------------------------------------------------ what they report

    async def listen(self) -> None:
        """Hears all children."""
        while True:
            peer, message, _ = await self.control.receive()
            child = self.children.get(peer.decode().partition(".")[0])
            if child is None or child.name != peer.decode():
                continue  # a last word from the dead
            child.last_beat = time.monotonic()
            if isinstance(message, Beat):
                child.busy_s = message.busy_s
            elif isinstance(message, Ready):
                await self.on_ready(child, message)
            elif isinstance(message, Fatal):
                self.on_fatal(child, message)

    async def on_ready(self, child: Child, message: Ready) -> None:
        """A process serves."""
        child.ready, child.failures = True, 0
        if child.is_worker:
            child.state, self.cards = "ready", message.cards
            metrics.worker_up(child.role, up=True)
            self.add_devices(message)
        await self.publish()
        self.announce()

    def add_devices(self, message: Ready) -> None:
        """Where the settings leave the device open, every one of the machine gets a worker."""
        if self.settings.device == ("auto",):
            for place in range(1, message.device_count):
                if f"worker-{place}" not in self.children:
                    self.add(Child(f"worker-{place}", place, device="auto"))

    def on_fatal(self, child: Child, message: Fatal) -> None:
        """A process cannot start: nothing to serve if it never could, else something to be tried again."""
        log.error("cannot start", role=child.role, detail=message.detail)
        if child.generation == 0:
            self.fatal = message.detail
            self.cut_off.set()
            self.stopping.set()

    async def publish(self) -> None:
        """Tells every frontend how things are."""
        workers = [child for child in self.children.values() if child.is_worker]
        infos = tuple(WorkerInfo(w.name, address(self.folder, w.name), w.state) for w in workers)
        for child in self.children.values():
            if not child.is_worker and child.ready:
                await self.control.send(child.name.encode(), Fleet(infos, self.cards))

    def announce(self) -> None:
        """Says once that everything is up, and where."""
        if self.announced or not all(child.ready for child in self.children.values()):
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
        longest_s = self.settings.drain_delay_s + self.settings.grace_s
        frontends = [child for child in self.children.values() if not child.is_worker]
        for child in frontends:
            send_signal(child, signal.SIGTERM)
        in_time = await self.ended(frontends, longest_s)
        self.leaving.set()
        workers = [child for child in self.children.values() if child.is_worker]
        for child in workers:
            await self.control.send(child.name.encode(), Stop())
        await self.ended(workers, KILL_AFTER_S)
        code = EXIT_MODEL if self.fatal else EXIT_OK if in_time else EXIT_CUT_OFF
        log.info("stopped", code=code)
        return code

    async def ended(self, children: list[Child], timeout_s: float) -> bool:
        """Waits for processes to end, and kills them after that time or at a second signal; whether they ended."""
        tasks = {self.keeping[child.role] for child in children}
        impatient = asyncio.create_task(self.cut_off.wait())
        until = time.monotonic() + timeout_s
        while pending := {task for task in tasks if not task.done()}:
            left_s = until - time.monotonic()
            if left_s <= 0 or impatient.done():
                break
            await asyncio.wait({*pending, impatient}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        impatient.cancel()
        for child in children:
            if not self.keeping[child.role].done():
                send_signal(child, signal.SIGKILL)
        await asyncio.gather(*tasks, return_exceptions=True)
        return not pending


def send_signal(child: Child, number: signal.Signals) -> None:
    """To the process in a place, if there is one."""
    try:
        os.kill(child.pid, number)
    except ProcessLookupError:
        return


def describe_exit(code: int) -> str:
    """An exit code in words, for the log and the metric."""
    return signal.Signals(-code).name if code < 0 else f"exit {code}"


async def wait_at_most(event: asyncio.Event, seconds: float) -> None:
    """Returns at the event, or after that time."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


def run(settings: Settings, folder: Path) -> int:
    """Serves; the exit code. Raises OSError if a port is taken."""
    logs.configure(settings, process="supervisor")
    with reserve(settings.host, settings.http_port) as http, reserve(settings.host, settings.grpc_port) as grpc:
        ports = {"http_port": http.getsockname()[1], "grpc_port": grpc.getsockname()[1]}
        actual = settings.model_copy(update=ports)
        write_settings(folder, actual)

        async def main() -> int:
            return await Supervisor(actual, folder).run()

        return asyncio.run(main())
