"""Loads and unloads models while the service runs.

It sends the messages to the workers, and waits until the frontends have answered all calls for a model.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from functools import partial

from service import logs
from service.errors import ModelControlFailed
from service.ipc.messages import Released, WorkerModels
from service.ipc.transport import ServerSocket
from service.processes.daemon import in_daemon_thread
from service.processes.served import ServedModels
from service.processes.slot import ProcessSlot
from service.processes.slots import Slots
from twins.zoo import hub
from twins.zoo.models import ModelReference

log = logs.get()


class ModelControl:
    """Makes every worker load and unload models until it has those to serve. `publish` informs the frontends."""

    def __init__(
        self,
        models: ServedModels,
        control: ServerSocket,
        slots: Slots,
        publish: Callable[[], Awaitable[None]],
    ) -> None:
        self.models, self.control, self.slots, self.publish = models, control, slots, publish
        self.orders: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # by key: one order after another
        self.failures: dict[str, str] = {}  # why a model was not loaded, by key
        self.changed = asyncio.Event()

    # ------------------------------------------------------------------ orders

    async def load(self, reference: ModelReference) -> None:
        """Serve a further model. It accepts calls when a worker has warmed it up. A failure is logged."""
        try:
            await self.add(reference)
        except ModelControlFailed as error:
            log.error("model not loaded", model=reference.key, detail=error.detail)

    async def add(self, reference: ModelReference) -> None:
        """Find the weights of a model, and let the workers load it. Raise ModelControlFailed."""
        async with self.orders[reference.key]:
            try:
                resolved = await in_daemon_thread(partial(hub.resolve, reference))
            except Exception as error:  # a message can hold any path
                raise self.failed(reference.key, str(error)) from error
            if self.in_use(resolved.key):
                raise ModelControlFailed("a model of this name is served or still unloading; unload it first")
            self.failures.pop(resolved.key, None)
            self.models.add(resolved)
            await self.update_workers()

    def failed(self, key: str, detail: str) -> ModelControlFailed:
        """Record why a model was not loaded, and return the error."""
        self.failures[key] = detail
        return ModelControlFailed(detail)

    async def until_announced(self, key: str) -> None:
        """Return when a worker has warmed up a model that was added. Raise ModelControlFailed if none can."""
        while key not in self.models.cards:
            if key in self.failures:
                raise ModelControlFailed(self.failures[key])
            if key not in self.models.wanted:
                raise ModelControlFailed("the model was unloaded while it was loading")
            await self.changed.wait()

    async def until_everywhere(self, key: str) -> None:
        """Return when all workers that are ready have a model, or it is withdrawn."""
        while key in self.models.wanted and not all(
            key in slot.models and slot.models[key].state == "ready" for slot in self.slots.ready_workers
        ):
            await self.changed.wait()

    async def until_unloaded(self, key: str) -> None:
        """Return at once unless a model is being unloaded, otherwise when no worker holds it anymore."""
        while key in self.models.draining or (key not in self.models.wanted and self.in_use(key)):
            await self.changed.wait()

    def in_use(self, key: str) -> bool:
        """Return whether a model is served, or a worker still holds it."""
        return key in self.models.wanted or any(key in slot.models for slot in self.slots.values())

    async def unload(self, key: str) -> None:
        """Withdraw a model when the orders for it before this one are done. A failure is logged."""
        try:
            await self.withdraw_served(key)
        except ModelControlFailed as error:
            log.error("model not unloaded", model=key, detail=error.detail)

    async def withdraw_served(self, key: str) -> None:
        """Withdraw a model when the orders for it before this one are done. Raise ModelControlFailed."""
        async with self.orders[key]:
            if key not in self.models.wanted:
                raise ModelControlFailed("no model of this name is served")
            await self.withdraw(key)

    async def withdraw(self, key: str) -> None:
        """Accept no new calls for a model. The workers unload it when every frontend has answered those in flight."""
        self.models.drain(key)
        await self.publish()
        await self.finish()

    async def choose_default(self, name: str, version: str) -> None:
        """Make a version the one that answers calls without a version. Raise ModelControlFailed."""
        if not self.models.choose_default(name, version):
            raise ModelControlFailed(f"version {version} of {name} is not served; load it first")
        await self.publish()

    # ------------------------------------------------------------------ messages of the processes

    def notify(self) -> None:
        """Notify those that wait for a state of a model."""
        self.changed.set()
        self.changed = asyncio.Event()

    async def on_models(self, slot: ProcessSlot, message: WorkerModels) -> None:
        """Record the model states of a worker. A model that fails on one worker is withdrawn from all of them."""
        slot.models = {status.key: status for status in message.models}
        if not slot.ready:
            return
        self.models.record(message.cards)
        await self.publish()
        for status in message.models:
            if status.state == "failed" and self.models.is_wanted(status):
                self.failures[status.key] = status.detail
                await self.withdraw(status.key)
        self.notify()
        await self.update(slot)

    async def on_exit(self, slot: ProcessSlot) -> None:
        """Withdraw the model whose load has probably ended a worker, so that the next process does not load it too."""
        loading = next((status.key for status in slot.models.values() if status.state == "loading"), None)
        if loading and slot.has_served and loading in self.models.wanted and loading not in self.models.cards:
            detail = f"{slot.role} exited while it loaded this model"
            log.error("model not loaded", model=loading, detail=detail)
            self.failures[loading] = detail
            await self.withdraw(loading)
        self.notify()

    async def on_released(self, slot: ProcessSlot, message: Released) -> None:
        """Record that a frontend has answered all calls for a model."""
        slot.released.add(message.key)
        await self.finish()

    async def finish(self) -> None:
        """Unload the models that no frontend needs anymore."""
        frontends = self.slots.ready_frontends
        for key in tuple(self.models.draining):
            if all(key in slot.released for slot in frontends):
                self.models.remove(key)
                for slot in frontends:
                    slot.released.discard(key)
                log.info("model withdrawn", model=key)
                await self.update_workers()
                await self.publish()
                self.notify()

    async def update_workers(self) -> None:
        """Send all workers the changes that they must make."""
        for slot in self.slots.workers:
            await self.update(slot)

    async def update(self, slot: ProcessSlot) -> None:
        """Send one worker the changes that it must make. A worker that is not ready gets them when it is."""
        if not slot.ready:
            return
        for message in self.models.changes(slot.models):
            slot.record_change(message)
            self.control.send(slot.name.encode(), message)
