"""Loads and unloads models while the service runs.

It sends the messages to the workers, and waits until the frontends have answered all calls for a model.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from service import logs
from service.ipc.messages import Released, WorkerModels
from service.ipc.transport import ServerSocket
from service.processes.daemon import in_daemon_thread
from service.processes.served import ServedModels
from service.processes.slot import ProcessSlot
from twins.zoo import hub
from twins.zoo.models import ModelReference

log = logs.get()


class ModelControl:
    """Makes every worker load and unload models until it has those to serve. `publish` informs the frontends."""

    def __init__(
        self,
        models: ServedModels,
        control: ServerSocket,
        slots: Mapping[str, ProcessSlot],
        publish: Callable[[], Awaitable[None]],
    ) -> None:
        self.models, self.control, self.slots, self.publish = models, control, slots, publish
        self.orders: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # by model: one order after another

    async def load(self, reference: ModelReference) -> None:
        """Serve a further model. It accepts calls when a worker has warmed it up."""
        async with self.orders[reference.name]:
            await self.resolve_and_add(reference)

    async def resolve_and_add(self, reference: ModelReference) -> None:
        """Find the weights of a model, and let the workers load it. A failure does not affect the other models."""
        try:
            resolved = await in_daemon_thread(partial(hub.resolve, reference))
        except Exception as error:  # a message can hold any path
            log.error("model not loaded", model=reference.name, detail=str(error))
            return
        if self.in_use(resolved.name):
            detail = "a model of this name is served or still unloading; unload it first"
            log.error("model not loaded", model=resolved.name, detail=detail)
            return
        self.models.add(resolved)
        await self.update_workers()

    def in_use(self, name: str) -> bool:
        """Return whether a model of this name is served, or a worker still holds one."""
        return name in self.models.wanted or any(name in slot.models for slot in self.slots.values())

    async def unload(self, name: str) -> None:
        """Withdraw a model when the orders for it before this one are done."""
        async with self.orders[name]:
            if name in self.models.wanted:
                await self.withdraw(name)
            else:
                log.error("model not unloaded", model=name, detail="no model of this name is served")

    async def withdraw(self, name: str) -> None:
        """Accept no new calls for a model. The workers unload it when every frontend has answered those in flight."""
        self.models.drain(name)
        await self.publish()
        await self.finish()

    async def on_models(self, slot: ProcessSlot, message: WorkerModels) -> None:
        """Record the model states of a worker. A model that fails on one worker is withdrawn from all of them."""
        slot.models = {status.name: status for status in message.models}
        if not slot.ready:
            return
        self.models.record(message.cards)
        await self.publish()
        for status in message.models:
            if status.state == "failed" and self.models.is_wanted(status):
                await self.withdraw(status.name)
        await self.update(slot)

    async def on_exit(self, slot: ProcessSlot) -> None:
        """Withdraw the model whose load has probably ended a worker, so that the next process does not load it too."""
        loading = next((status.name for status in slot.models.values() if status.state == "loading"), None)
        if loading and slot.has_served and loading in self.models.wanted and loading not in self.models.cards:
            log.error("model not loaded", model=loading, detail=f"{slot.role} exited while it loaded this model")
            await self.withdraw(loading)

    async def on_released(self, slot: ProcessSlot, message: Released) -> None:
        """Record that a frontend has answered all calls for a model."""
        slot.released.add(message.name)
        await self.finish()

    async def finish(self) -> None:
        """Unload the models that no frontend needs anymore."""
        frontends = [slot for slot in self.slots.values() if slot.ready and not slot.is_worker]
        for name in tuple(self.models.draining):
            if all(name in slot.released for slot in frontends):
                self.models.remove(name)
                for slot in frontends:
                    slot.released.discard(name)
                log.info("model withdrawn", model=name)
                await self.update_workers()
                await self.publish()

    async def update_workers(self) -> None:
        """Send all workers the changes that they must make."""
        for slot in self.slots.values():
            if slot.is_worker:
                await self.update(slot)

    async def update(self, slot: ProcessSlot) -> None:
        """Send one worker the changes that it must make. A worker that is not ready gets them when it is."""
        if not slot.ready:
            return
        for message in self.models.changes(slot.models):
            slot.record_change(message)
            self.control.send(slot.name.encode(), message)
