"""What a process with a device does, whoever sends it samples: open the device, load models, record metrics."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from service import logs, metrics
from service.core.device import BatchResult
from service.core.local import LocalPool, Observer
from service.cores import shares
from service.environment import COMPILED_FOLDER, set_variable, variable
from service.settings import Settings
from twins.card import Card
from twins.preprocessing import assumed, describe
from twins.running import Running
from twins.runtime.backend import Backend
from twins.runtime.choice import open_backend
from twins.runtime.plan import Plan
from twins.zoo import hub
from twins.zoo.models import ModelReference

GAUGES_S = 1.0

log = logs.get()


def open_device(settings: Settings, device: str, running: Running) -> Backend:
    """Open a device as the settings ask, or as one model does. Raise DeviceMissing, BackendMissing, BadOption."""
    cores = shares(settings)
    if settings.backend == "compile" and variable(COMPILED_FOLDER) is None:
        set_variable(COMPILED_FOLDER, str(hub.cache_folder() / "compiled"))  # in containers a volume
    plan = Plan(
        device,
        running.precision or settings.precision,
        running.backend or settings.backend,
        cores.worker_threads,
        settings.calibration,
        cores.small_threads,
    )
    return open_backend(plan)


async def load(pool: LocalPool, reference: ModelReference, role: str) -> Card:
    """Load and warm up one model, and log how. Raise TwinsError."""
    began = time.monotonic()
    card = await pool.load(reference)
    took_s = time.monotonic() - began
    metrics.model_loaded(reference.key, role, took_s)
    log.info(
        "model loaded",
        model=reference.key,
        device=pool.backend.device.name,
        backend=pool.backend.name,
        precision=card.precision,
        seconds=round(took_s, 2),
        sha256=reference.sha256,
        preprocessing=describe(card),
    )
    if values := assumed(card):
        log.warning(
            "preprocessing uses defaults, which may be wrong for this model",
            model=reference.key,
            values=values,
            advice="set them with --preprocess, or store them in the file with `twins convert`",
        )
    return card


class DeviceMetrics(Observer):
    """Records what the pool of one process does. `role` is the name of the process in the metrics."""

    role: str
    pool: LocalPool

    def batch_starts(self, tags: Sequence[Any]) -> None:  # noqa: ARG002 - for those who override it
        """Record the queue, which a batch has left."""
        self.report_queue()

    def batch_ended(self, model: str, tags: Sequence[Any], ran: BatchResult) -> None:
        """Record a batch."""
        metrics.batch(model, len(tags))
        metrics.worker_busy(self.role, ran.took_s)

    def report_queue(self) -> None:
        """Record how many samples of each model wait."""
        waiting = self.pool.waiting()
        metrics.queue_depth(self.role, {model: waiting.get(model, 0) for model in self.pool.models})

    async def gauges(self) -> None:
        """Update the gauges regularly, even without requests."""
        while True:
            self.look()
            self.report_queue()
            for kind, size_bytes in self.pool.backend.memory_bytes().items():
                metrics.device_memory(self.role, kind, size_bytes)
            await asyncio.sleep(GAUGES_S)

    def look(self) -> None:
        """Do what else is due as often as the gauges."""
