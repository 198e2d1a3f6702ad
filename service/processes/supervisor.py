"""Starts the frontends and workers, watches them, restarts them, and drains them in order."""

import asyncio
import signal
import time
from pathlib import Path

from service import logs, metrics
from service.ipc.transport import Beat, Fatal, Fleet, Listener, Ready, Stop, WorkerInfo, address
from service.processes.child import CONTROL, write_settings
from service.processes.listening import reserve
from service.processes.slot import Place
from service.settings import Settings
from twins.card import Card

EXIT_OK, EXIT_MODEL, EXIT_CUT_OFF, EXIT_BROKEN = 0, 3, 4, 5
KILL_AFTER_S = 5.0  # for a worker that was told to stop
MARGIN_S = 5.0  # for a frontend to end by itself, after the last of its clients
HOPELESS = 5  # processes in a row that died before they got ready, at the start of the service

log = logs.get()


class Supervisor:
    """The parent of all processes."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self.control = Listener(address(folder, CONTROL))
        self.places: dict[str, Place] = {}
        self.keeping: dict[str, asyncio.Task[None]] = {}
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
            self.add(Place(f"worker-{number}", number, device=device))
        for number in range(self.settings.frontends):
            self.add(Place(f"frontend-{number}", number))
        await self.stopping.wait()
        code = await self.stop()
        listening.cancel()
        self.control.close()
        return code

    def add(self, place: Place) -> None:
        """Takes a place into care."""
        self.places[place.role] = place
        if place.is_worker:
            metrics.worker_up(place.role, up=False)
        self.keeping[place.role] = asyncio.create_task(self.keep(place))
        self.keeping[place.role].add_done_callback(self.on_broken)

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

    async def keep(self, place: Place) -> None:
        """Keeps a process in a place as long as it is needed there."""
        while self.needed(place):
            process = await place.spawn(str(self.folder))
            reason = await place.watch(process, self.settings)
            metrics.process_gone(place.pid)
            if not self.needed(place):
                break
            await self.mourn(place, reason)

    def needed(self, place: Place) -> bool:
        """Workers are needed until the last answer, frontends until the service is to stop."""
        return not (self.leaving if place.is_worker else self.stopping).is_set()

    async def mourn(self, place: Place, reason: str) -> None:
        """Tells those concerned that a process is gone, and waits before the next one if they die early."""
        place.died()
        if place.early_deaths >= HOPELESS and not self.announced:
            log.error("gives up", role=place.role, deaths=place.early_deaths)
            self.end(EXIT_BROKEN)
        if place.is_worker:
            metrics.worker_up(place.role, up=False)
            await self.publish()
        metrics.restarted(place.role, reason)
        log.warning("restarting", role=place.role, reason=reason, in_s=place.backoff_s)
        await wait_at_most(self.leaving if place.is_worker else self.stopping, place.backoff_s)

    # ------------------------------------------------------------------ what they report

    async def listen(self) -> None:
        """Hears all children."""
        while True:
            peer, message, _ = await self.control.receive()
            place = self.places.get(peer.decode().partition(".")[0])
            if place is None or place.name != peer.decode():
                continue  # a last word from the dead
            place.last_beat = time.monotonic()
            metrics.process_memory("supervisor")
            if isinstance(message, Beat):
                place.busy_s = message.busy_s
            elif isinstance(message, Ready):
                await self.on_ready(place, message)
            elif isinstance(message, Fatal):
                await self.on_fatal(place, message)

    async def on_ready(self, place: Place, message: Ready) -> None:
        """A process serves."""
        place.got_ready()
        if place.is_worker:
            self.cards = message.cards
            metrics.worker_up(place.role, up=True)
            self.add_devices(message)
        await self.publish()
        self.announce()

    def add_devices(self, message: Ready) -> None:
        """Where the settings leave the device open, every one of the machine gets a worker."""
        if self.settings.device == ("auto",):
            for number in range(1, message.device_count):
                if f"worker-{number}" not in self.places:
                    self.add(Place(f"worker-{number}", number, device="auto"))

    async def on_fatal(self, place: Place, message: Fatal) -> None:
        """A process cannot start: nothing to serve if it never could, else something to be tried again."""
        log.error("cannot start", role=place.role, detail=message.detail)
        await self.control.send(place.name.encode(), Stop())
        if place.generation == 0:
            self.end(EXIT_MODEL)

    async def publish(self) -> None:
        """Tells every frontend how things are."""
        workers = [place for place in self.places.values() if place.is_worker]
        infos = tuple(WorkerInfo(w.name, address(self.folder, w.name), w.state) for w in workers)
        for place in self.places.values():
            if not place.is_worker and place.ready:
                await self.control.send(place.name.encode(), Fleet(infos, self.cards))

    def announce(self) -> None:
        """Says once that everything is up, and where."""
        if self.announced or not all(place.ready for place in self.places.values()):
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
        frontends = [place for place in self.places.values() if not place.is_worker]
        for place in frontends:
            place.send(signal.SIGTERM)
        in_time = await self.ended(frontends, longest_s)
        self.leaving.set()
        workers = [place for place in self.places.values() if place.is_worker]
        for place in workers:
            if not place.ready:  # it does not listen while it loads
                place.send(signal.SIGKILL)
            await self.control.send(place.name.encode(), Stop())
        await self.ended(workers, KILL_AFTER_S)
        code = self.code or (EXIT_OK if in_time else EXIT_CUT_OFF)
        log.info("stopped", code=code)
        return code

    async def ended(self, places: list[Place], timeout_s: float) -> bool:
        """Waits for processes to end, and kills them after that time or at a second signal; whether they ended."""
        tasks = {self.keeping[place.role] for place in places}
        impatient = asyncio.create_task(self.cut_off.wait())
        until = time.monotonic() + timeout_s
        while pending := {task for task in tasks if not task.done()}:
            left_s = until - time.monotonic()
            if left_s <= 0 or impatient.done():
                break
            await asyncio.wait({*pending, impatient}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        impatient.cancel()
        for place in places:
            if not self.keeping[place.role].done():
                place.send(signal.SIGKILL)
        await asyncio.gather(*tasks, return_exceptions=True)
        return not pending


async def wait_at_most(event: asyncio.Event, seconds: float) -> None:
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
