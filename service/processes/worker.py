"""The worker process: it owns a device and runs the jobs that frontends send to its socket."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, NoReturn

from service import logs, metrics
from service.core.canary import Canary
from service.core.device import BatchResult
from service.core.local import LocalPool
from service.ipc.messages import (
    DeviceChosen,
    FrontendGone,
    Heartbeat,
    LoadModel,
    ModelState,
    ModelStatus,
    Ready,
    Stop,
    UnloadModel,
    WorkerModels,
    address,
)
from service.ipc.transport import ClientSocket
from service.processes import child, device
from service.processes.child import ChildConfig
from service.processes.device import DeviceMetrics
from service.processes.jobs import Jobs, Tag
from service.settings import Settings
from service.tracing.tracer import open_tracer
from twins.errors import DeviceLost, TwinsError
from twins.running import Running
from twins.runtime.backend import Backend
from twins.runtime.choice import choose_device
from twins.zoo.models import ModelReference

EXIT_DEVICE_LOST = 4
LOADED_AT_ONCE = 2  # models; each takes the memory of several copies of its weights meanwhile

log = logs.get()


class Worker(DeviceMetrics):
    """Runs the models on one device for all frontends."""

    def __init__(self, config: ChildConfig, settings: Settings, control: ClientSocket) -> None:
        self.config, self.settings, self.control = config, settings, control
        self.role = config.role
        self.restoring = child.Attempt("the worker's socket cannot be restored")
        self.models: dict[str, ModelStatus] = {}
        self.changing = asyncio.Lock()  # one model is loaded or unloaded at a time, in the order of the messages
        self.changes: set[asyncio.Task[None]] = set()
        self.pool = LocalPool(
            self.open_backend,
            max_batch=settings.max_batch or None,
            max_delay_s=settings.max_delay_ms / 1000,
            has_upcoming=lambda: self.jobs.has_upcoming(self.pool.longest_delay_s),
            observer=self,
        )
        self.canary = Canary(self.pool, settings.canary_s)
        self.tracer = open_tracer(settings, process=config.role, on_lost=metrics.spans_lost)
        self.jobs = Jobs(address(config.folder, config.name), self.pool, self.tracer)

    def open_backend(self, running: Running) -> Backend:
        """Open the device that the supervisor chose. Raise DeviceMissing, BackendMissing, BadOption."""
        return device.open_device(self.settings, choose_device(self.config.device, self.config.slot), running)

    # ------------------------------------------------------------------ life

    async def run(self) -> None:
        """Load the models, report ready, and serve until the supervisor sends Stop."""
        heartbeats = asyncio.create_task(child.send_heartbeats(self.config, self.control, self.heartbeat))
        try:
            await self.pool.open()
            opened = self.pool.backend.device
            self.control.send(DeviceChosen(opened.name, opened.count))
            await self.load_all()
        except DeviceLost as error:
            self.device_lost(error)
        except TwinsError as error:
            await child.report_fatal(self.control, str(error))
        self.control.send(Ready(tuple(self.pool.cards.values())))
        log.info("worker ready", device=opened.name, backend=self.pool.backend.name, models=list(self.pool.cards))
        jobs = [self.pool.serve(), self.jobs.receive(), self.gauges()]
        if self.settings.canary_s:
            jobs.append(self.canary.run())
        serving = [asyncio.create_task(job) for job in jobs]
        stopping = asyncio.create_task(self.follow())
        done, _ = await asyncio.wait([*serving, stopping, heartbeats], return_when=asyncio.FIRST_COMPLETED)
        if stopping not in done:
            child.exit_process(child.EXIT_BROKEN, next(iter(done)).exception())
        await asyncio.to_thread(self.tracer.close)
        # Nothing is in flight, and a normal exit of an interpreter that holds a device is slow.
        child.exit_process(0)

    def heartbeat(self) -> Heartbeat:
        """Return the state of the batches."""
        return Heartbeat(self.pool.busy_s(), max(0.0, self.pool.succeeded), self.canary.has_failed)

    async def load_all(self) -> None:
        """Load the models that are served from the start, several at once if the device allows it. Raise TwinsError."""
        at_once = asyncio.Semaphore(LOADED_AT_ONCE if self.pool.backend.device.any_thread else 1)

        async def load(reference: ModelReference) -> None:
            async with at_once:
                await self.load(reference)

        await asyncio.gather(*map(load, self.config.models))

    async def load(self, reference: ModelReference) -> None:
        """Load and warm up one model. Raise TwinsError."""
        await self.report(reference, "loading")
        await device.load(self.pool, reference, self.role)
        await self.report(reference, "ready")

    async def report(self, reference: ModelReference, state: ModelState, detail: str = "") -> None:
        """Send the supervisor the new state of a model."""
        self.models[reference.key] = ModelStatus(reference.key, reference.sha256 or "", state, detail)
        await self.report_all()

    async def report_all(self) -> None:
        """Send the supervisor the states of all models."""
        self.control.send(WorkerModels(tuple(self.models.values()), tuple(self.pool.cards.values())))

    async def load_while_serving(self, reference: ModelReference) -> None:
        """Load a further model. A failure does not affect the other models."""
        async with self.changing:
            try:
                await self.load(reference)
            except DeviceLost as error:
                self.device_lost(error)
            except Exception as error:
                log.error("model not loaded", model=reference.key, detail=str(error))
                await self.report(reference, "failed", str(error))

    async def unload(self, key: str) -> None:
        """Free the memory of a model, after its last call is answered."""
        async with self.changing:
            del self.models[key]
            if key in self.pool.models:
                await self.pool.unload(key)
            log.info("model unloaded", model=key)
            await self.report_all()

    def look(self) -> None:
        """Restore the worker's socket if it was deleted."""
        with self.restoring:
            self.jobs.socket.restore()

    async def follow(self) -> None:
        """Handle the supervisor's messages until it sends Stop."""
        while not isinstance(message := (await self.control.receive())[0], Stop):
            if isinstance(message, FrontendGone):
                self.jobs.drop_frontend(message.name)
            elif isinstance(message, LoadModel):
                self.on_load(message.reference)
            elif isinstance(message, UnloadModel):
                self.on_unload(message.key)

    # Both record the new state at once, so that every report to the supervisor has it, also while another model
    # changes. The supervisor sends a message twice when a report from before the first one reaches it afterwards.

    def on_load(self, reference: ModelReference) -> None:
        """Load a model when the changes before it are done, unless the worker has it."""
        if reference.key not in self.models:
            self.models[reference.key] = ModelStatus(reference.key, reference.sha256 or "", "loading")
            self.start(self.load_while_serving(reference))

    def on_unload(self, key: str) -> None:
        """Unload a model when the changes before it are done, unless the worker does not hold it."""
        status = self.models.get(key)
        if status and status.state in ("ready", "failed"):
            self.models[key] = ModelStatus(key, status.sha256, "unloading")
            self.start(self.unload(key))

    def start(self, change: Coroutine[Any, Any, None]) -> None:
        """Load or unload a model in the background. An unexpected error ends the process."""
        task = asyncio.create_task(change)
        self.changes.add(task)
        task.add_done_callback(self.on_changed)

    def on_changed(self, task: asyncio.Task[None]) -> None:
        """Remove a change that has ended, and end the process if it failed."""
        self.changes.discard(task)
        if not task.cancelled() and (error := task.exception()):
            child.exit_process(child.EXIT_BROKEN, error)

    # ------------------------------------------------------------------ around a batch

    def batch_starts(self, tags: Sequence[Tag]) -> None:
        """Report the samples that go to the device to their frontends, in case this process crashes."""
        self.jobs.traces.starts(tags)
        self.jobs.report_running(tags)
        super().batch_starts(tags)

    def batch_ended(self, model: str, tags: Sequence[Tag], ran: BatchResult) -> None:
        """Record a batch, and what of it belongs to traces."""
        super().batch_ended(model, tags, ran)
        self.jobs.traces.ended(model, tags, ran)

    def device_lost(self, error: DeviceLost) -> NoReturn:
        """End the process. Frontends then retry the samples on another worker, and the supervisor restarts this one."""
        log.error("device lost", detail=str(error))
        child.exit_process(EXIT_DEVICE_LOST)


def start(kind: type[Worker]) -> None:
    """Run this process as a worker of a kind, until it ends."""

    async def main(config: ChildConfig, settings: Settings, control: ClientSocket) -> None:
        await kind(config, settings, control).run()

    child.start(main)


if __name__ == "__main__":
    start(Worker)
