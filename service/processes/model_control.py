"""Loads and unloads models while the service runs.

It sends the messages to the workers, and waits until the frontends have answered all calls for a model.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from service import logs
from service.ipc.transport import Released, ServerSocket, WorkerModels
from service.processes.served import ServedModels
from service.processes.slot import ProcessSlot
from twins.errors import TwinsError
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

    async def load(self, reference: ModelReference) -> None:
        """Serve a further model. It accepts calls when a worker has warmed it up."""
        try:
            resolved = await asyncio.to_thread(hub.resolve, reference)
        except TwinsError as error:
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
        """Withdraw a model. The workers unload it when every frontend has answered its calls."""
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
            if status.state == "failed" and status.name in self.models.wanted:
                await self.unload(status.name)
        await self.update(slot)

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
            await self.control.send(slot.name.encode(), message)
