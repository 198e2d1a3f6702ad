"""The worker process: it owns a device and runs the jobs that frontends send to its socket."""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any, NoReturn, cast

from service import logs, metrics
from service.core.local import LocalPool, Observer
from service.cores import shares
from service.errors import Internal, ServiceError
from service.ipc.transport import (
    IDENTITY_SEPARATOR,
    Abandon,
    Array,
    ClientSocket,
    DeviceChosen,
    Done,
    Failed,
    FrontendGone,
    Job,
    LoadModel,
    ModelState,
    ModelStatus,
    Ready,
    Running,
    ServerSocket,
    Stop,
    UnloadModel,
    WorkerModels,
    address,
)
from service.processes import child
from service.processes.child import ChildConfig
from service.processes.models import labels_file_for
from service.settings import Settings
from twins.errors import DeviceLost, TwinsError
from twins.preprocessing import assumed, describe
from twins.runtime.backend import Backend
from twins.runtime.choice import choose_device, open_backend
from twins.runtime.plan import Plan
from twins.tasks import decode_params
from twins.tasks.sample import Pixels, Sample
from twins.zoo.models import ModelReference

GAUGES_S = 1.0
EXIT_DEVICE_LOST = 4

log = logs.get()

Tag = tuple[bytes, int]  # a frontend's address, and the job's id there


class Worker(Observer):
    """Runs the models on one device for all frontends."""

    def __init__(self, config: ChildConfig, settings: Settings, control: ClientSocket) -> None:
        self.config, self.settings, self.control = config, settings, control
        self.jobs: dict[Tag, asyncio.Task[None]] = {}
        self.gone: set[str] = set()  # names of frontends that have exited, which are never used again
        self.upcoming: dict[
            bytes, tuple[int, float]
        ] = {}  # by frontend: the number of samples, and when it was reported
        self.server_socket = ServerSocket(address(config.folder, config.name))
        self.models: dict[str, ModelStatus] = {}
        self.changing = asyncio.Lock()  # one model is loaded or unloaded at a time, in the order of the messages
        self.changes: set[asyncio.Task[None]] = set()
        self.pool = LocalPool(
            self.open_backend,
            max_batch=settings.max_batch or None,
            max_delay_s=settings.max_delay_ms / 1000,
            has_upcoming=self.has_upcoming,
            observer=self,
        )

    def open_backend(self) -> Backend:
        """Open the device that the supervisor chose. Raise DeviceMissing."""
        device = choose_device(self.config.device, self.config.slot)
        threads = shares(self.settings).worker_threads
        return open_backend(Plan(device, self.settings.precision, self.settings.backend, threads))

    def has_upcoming(self) -> bool:
        """Return whether a frontend has recently reported samples that it is still preparing."""
        now, lately_s = time.monotonic(), self.settings.max_delay_ms / 1000
        self.upcoming = {peer: (n, at) for peer, (n, at) in self.upcoming.items() if n and now - at <= lately_s}
        return bool(self.upcoming)

    # ------------------------------------------------------------------ life

    async def run(self) -> None:
        """Load the models, report ready, and serve until the supervisor sends Stop."""
        heartbeats = asyncio.create_task(child.send_heartbeats(self.config, self.control, self.pool.busy_s))
        try:
            await self.pool.open()
            device = self.pool.backend.device
            await self.control.send(DeviceChosen(device.name, device.count))
            for reference in self.config.models:
                await self.load(reference)
        except DeviceLost as error:
            self.device_lost(error)
        except TwinsError as error:
            await child.report_fatal(self.control, str(error))
        await self.control.send(Ready(tuple(self.pool.cards.values())))
        log.info("worker ready", device=device.name, backend=self.pool.backend.name, models=list(self.pool.cards))
        serving = [asyncio.create_task(job) for job in (self.pool.serve(), self.receive(), self.gauges())]
        stopping = asyncio.create_task(self.follow())
        done, _ = await asyncio.wait([*serving, stopping, heartbeats], return_when=asyncio.FIRST_COMPLETED)
        if stopping not in done:
            child.exit_process(child.EXIT_BROKEN, next(iter(done)).exception())
        # Nothing is in flight, and a normal exit of an interpreter that holds a device is slow.
        child.exit_process(0)

    async def load(self, reference: ModelReference) -> None:
        """Load and warm up one model. Raise TwinsError."""
        await self.report(reference, "loading")
        began = time.monotonic()
        card = await self.pool.load(reference, labels_file=labels_file_for(reference, self.settings))
        took_s = time.monotonic() - began
        metrics.model_loaded(reference.name, self.config.role, took_s)
        log.info(
            "model loaded",
            model=reference.name,
            device=self.pool.backend.device.name,
            backend=self.pool.backend.name,
            seconds=round(took_s, 2),
            sha256=reference.sha256,
            preprocessing=describe(card),
        )
        if values := assumed(card):
            log.warning(
                "preprocessing uses defaults, which may be wrong for this model",
                model=reference.name,
                values=values,
                advice="set them with --preprocess, or store them in the file with `twins convert`",
            )
        await self.report(reference, "ready")

    async def report(self, reference: ModelReference, state: ModelState) -> None:
        """Send the supervisor the new state of a model."""
        self.models[reference.name] = ModelStatus(reference.name, reference.sha256 or "", state)
        await self.report_all()

    async def report_all(self) -> None:
        """Send the supervisor the states of all models."""
        await self.control.send(WorkerModels(tuple(self.models.values()), tuple(self.pool.cards.values())))

    async def load_while_serving(self, reference: ModelReference) -> None:
        """Load a further model. A failure does not affect the other models."""
        async with self.changing:
            try:
                await self.load(reference)
            except DeviceLost as error:
                self.device_lost(error)
            except Exception as error:
                log.error("model not loaded", model=reference.name, detail=str(error))
                await self.report(reference, "failed")

    async def unload(self, name: str) -> None:
        """Free the memory of a model, after its last call is answered."""
        async with self.changing:
            del self.models[name]
            if name in self.pool.models:
                await self.pool.unload(name)
            log.info("model unloaded", model=name)
            await self.report_all()

    async def gauges(self) -> None:
        """Update the gauges regularly, even without requests."""
        attempt = child.Attempt("the worker's socket cannot be restored")
        while True:
            with attempt:
                self.server_socket.restore()
            metrics.queue_depth(self.config.role, self.pool.batcher.depth)
            for kind, size_bytes in self.pool.backend.memory_bytes().items():
                metrics.device_memory(self.config.role, kind, size_bytes)
            await asyncio.sleep(GAUGES_S)

    async def follow(self) -> None:
        """Handle the supervisor's messages until it sends Stop."""
        while not isinstance(message := (await self.control.receive())[0], Stop):
            if isinstance(message, FrontendGone):
                self.drop_frontend(message.name)
            elif isinstance(message, LoadModel):
                self.on_load(message.reference)
            elif isinstance(message, UnloadModel):
                self.on_unload(message.name)

    # Both record the new state at once, so that every report to the supervisor has it, also while another model
    # changes. The supervisor sends a message twice when a report from before the first one reaches it afterwards.

    def on_load(self, reference: ModelReference) -> None:
        """Load a model when the changes before it are done, unless the worker has a model of this name."""
        if reference.name not in self.models:
            self.models[reference.name] = ModelStatus(reference.name, reference.sha256 or "", "loading")
            self.start(self.load_while_serving(reference))

    def on_unload(self, name: str) -> None:
        """Unload a model when the changes before it are done, unless the worker does not hold it."""
        status = self.models.get(name)
        if status and status.state in ("ready", "failed"):
            self.models[name] = ModelStatus(name, status.version, "unloading")
            self.start(self.unload(name))

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

    # ------------------------------------------------------------------ jobs

    def drop_frontend(self, name: str) -> None:
        """Cancel the jobs of a frontend that has exited, and ignore those that still arrive."""
        self.gone.add(name)
        abandoned = [task for (peer, _), task in self.jobs.items() if frontend_of(peer) == name]
        for task in abandoned:
            task.cancel()
        log.info("dropped the jobs of a frontend that has died", frontend=name, jobs=len(abandoned))

    async def receive(self) -> None:
        """Start the jobs that arrive, and cancel those that are abandoned."""
        while True:
            peer, message, arrays = await self.server_socket.receive()
            if frontend_of(peer) in self.gone:
                continue
            if isinstance(message, Job):
                self.upcoming[peer] = (message.upcoming, time.monotonic())
                task = asyncio.create_task(self.answer(peer, message, arrays))
                self.jobs[peer, message.id] = task
                task.add_done_callback(partial(self.discard_job, (peer, message.id)))
            elif isinstance(message, Abandon) and (peer, message.id) in self.jobs:
                self.jobs[peer, message.id].cancel()

    def discard_job(self, tag: Tag, task: asyncio.Task[None]) -> None:
        """Remove a job that has ended, and log an error of its reply."""
        del self.jobs[tag]
        if not task.cancelled() and (error := task.exception()):
            log.error("reply failed", exc_info=error)

    async def answer(self, peer: bytes, job: Job, arrays: tuple[Array, ...]) -> None:
        """Run one job and send its reply."""
        try:
            sample = Sample(cast(Pixels, arrays[0]), decode_params(job.task, job.params))
            ran = await self.pool.submit(job.model, sample, expires=job.expires, tag=(peer, job.id))
        except Exception as error:
            known = error if isinstance(error, ServiceError) else Internal("the worker cannot run this image")
            if known is not error:
                log.error("job failed", model=job.model, exc_info=error)
            await self.server_socket.send(peer, Failed(job.id, known.code, known.detail))
            return
        done = Done(job.id, ran.queue_s, ran.infer_s, ran.batch_size, self.pool.waiting())
        await self.server_socket.send(peer, done, ran.output.arrays)

    # ------------------------------------------------------------------ around a batch

    async def batch_starts(self, tags: Sequence[Tag]) -> None:
        """Report the samples that go to the device to their frontends, in case this process crashes."""
        for peer in {peer for peer, _ in tags}:
            await self.server_socket.send(peer, Running(tuple(id_ for sender, id_ in tags if sender == peer)))
        metrics.queue_depth(self.config.role, self.pool.batcher.depth)

    def batch_ended(self, model: str, size: int, infer_s: float) -> None:
        """Record a batch."""
        metrics.batch(model, size)
        metrics.worker_busy(self.config.role, infer_s)

    def device_lost(self, error: DeviceLost) -> NoReturn:
        """End the process. Frontends then retry the samples on another worker, and the supervisor restarts this one."""
        log.error("device lost", detail=str(error))
        child.exit_process(EXIT_DEVICE_LOST)


def frontend_of(peer: bytes) -> str:
    """Return the name of the frontend that a connection belongs to."""
    return peer.decode(errors="replace").partition(IDENTITY_SEPARATOR)[0]


async def main(config: ChildConfig, settings: Settings, control: ClientSocket) -> None:
    """Run a worker until it ends."""
    await Worker(config, settings, control).run()


if __name__ == "__main__":
    child.start(main)
