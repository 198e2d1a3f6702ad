"""One replica: an engine over the models on one device, and what answers its calls. It knows nothing of Ray.

The metrics read the folder for their files when they are imported, so `service.environment.METRICS_FOLDER` has to be
set before this module is imported.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import FastAPI

from service import logs, metric_page, metrics
from service.access import key_file
from service.core.canary import Canary
from service.core.engine import Engine
from service.core.local import LocalPool
from service.core.pool import Pool
from service.dialects import routes as dialect_routes
from service.oip import routes as oip_routes
from service.oip import servicer
from service.processes import device
from service.processes.device import DeviceMetrics
from service.ray.calls import Calls
from service.ray.multiplexed import Cache, MultiplexedPool
from service.rest.app import build
from service.rpc.services import Services
from service.settings import Settings
from service.tracing.tracer import open_tracer
from service.web import pages
from twins import __version__
from twins.errors import DeviceLost, WeightsUnavailable
from twins.running import Running
from twins.runtime.backend import Backend
from twins.runtime.choice import choose_device
from twins.zoo import hub
from twins.zoo.models import ModelReference

ROLE = "replica"

log = logs.get()


class Unhealthy(Exception):
    """The replica cannot serve any more, and must be replaced."""


class Replica(DeviceMetrics):
    """The engine of one replica, with its device."""

    role = ROLE

    def __init__(self, settings: Settings, models: tuple[ModelReference, ...], cache: Cache | None = None) -> None:
        """`cache` keeps some of the models on the device; without it, all are there."""
        self.settings, self.models = settings, models
        self.pool = LocalPool(
            self.open_backend,
            max_batch=settings.max_batch or None,
            max_delay_s=settings.max_delay_ms / 1000,
            has_upcoming=lambda: self.engine.admission.in_flight > 0,
            observer=self,
        )
        self.multiplexed = MultiplexedPool(self.pool, models, self.load, cache) if cache else None
        served: Pool = self.multiplexed or self.pool
        self.canary = Canary(self.pool, settings.canary_s)
        self.tracer = open_tracer(settings, process=ROLE, on_lost=metrics.spans_lost)
        self.engine = Engine(settings, served, tracer=self.tracer)
        self.services = Services(self.engine, [servicer.add])
        self.calls = Calls(self.services)
        self.web = application(self.engine)
        self.running: dict[str, asyncio.Task[None]] = {}

    def open_backend(self, running: Running) -> Backend:
        """Open the device. Raise DeviceMissing, BackendMissing, BadOption."""
        return device.open_device(self.settings, choose_device(self.settings.device[0]), running)

    async def open(self) -> None:
        """Load the models and start to serve. Raise TwinsError."""
        metrics.version(__version__)
        metrics.workers_expected(1)
        await self.services.set_health(ready=False)
        await self.pool.open()
        if self.multiplexed:
            await self.multiplexed.open()
        else:
            for reference in self.models:
                await self.load(reference)
        jobs: dict[str, Coroutine[Any, Any, None]] = {"batches": self.pool.serve(), "gauges": self.gauges()}
        if self.settings.canary_s:
            jobs["canary"] = self.canary.run()
        if self.settings.keys_file:
            jobs["keys file"] = self.engine.keys.follow()
        self.running = {name: asyncio.create_task(job) for name, job in jobs.items()}
        metrics.worker_up(self.role, up=True)
        log.info("replica ready", device=self.pool.backend.device.name, backend=self.pool.backend.name)

    async def load(self, reference: ModelReference) -> Any:
        """Load one model from the same bytes as the other replicas. Raise TwinsError."""
        found = await asyncio.to_thread(hub.resolve, reference)
        if reference.sha256 not in (None, found.sha256):
            raise WeightsUnavailable(f"{found.file} is not the file that the application was deployed with")
        return await device.load(self.pool, found, self.role)

    def check(self) -> None:
        """Raise Unhealthy if this replica must be replaced."""
        if self.pool.lost:
            raise Unhealthy("the device is lost")
        if self.canary.has_failed:
            raise Unhealthy("no batch succeeds, and the canary has failed")
        if (busy_s := self.pool.busy_s()) > self.settings.hang_timeout_s:
            raise Unhealthy(f"a batch has been running for {busy_s:.0f} s")
        for name, task in self.running.items():
            if task.done():
                raise Unhealthy(f"the task of the {name} has ended")

    def device_lost(self, error: DeviceLost) -> None:
        """Log the loss of the device. The next check of health fails, and Ray Serve replaces the replica."""
        log.error("device lost", detail=str(error))
        metrics.worker_up(self.role, up=False)

    def look(self) -> None:
        """Record the memory of the process, and restore the metric files."""
        metrics.process_memory(self.role)
        metrics.restore_files()

    def page(self) -> bytes:
        """Return the metrics of this replica."""
        return metric_page.render()

    async def close(self) -> None:
        """End what runs."""
        self.engine.start_draining()
        self.engine.close()
        for task in self.running.values():
            task.cancel()
        if self.running:
            await asyncio.wait(self.running.values())
        self.pool.close()
        await asyncio.to_thread(self.tracer.close)
        logs.flush()


def application(engine: Engine) -> FastAPI:
    """Return the application over HTTP, with the routes of all protocols."""
    app = build(engine)
    for add in (oip_routes.add, dialect_routes.add, pages.add):
        add(app, engine)
    return app


def start(
    settings: Settings, models: tuple[ModelReference, ...], name: str, cache: Cache | None, pages_of: "PagesOf"
) -> Replica:
    """Return the replica of this process. `pages_of` returns the metrics of all replicas by name."""
    logs.configure(settings, process=name, on_drop=metrics.log_line_dropped)
    key_file.load(settings)
    replica = Replica(settings, models, cache)

    def render(*, openmetrics: bool) -> bytes:
        return metric_page.merged(pages_of(), label="replica", openmetrics=openmetrics)

    replica.web.state.metrics[0] = render
    return replica


PagesOf = Callable[[], dict[str, bytes]]
