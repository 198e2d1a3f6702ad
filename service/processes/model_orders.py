"""The orders for models that other processes send to the supervisor, each of which is carried out in the background."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from service import logs
from service.errors import Internal, ServiceError
from service.ipc.messages import AnyMessage, LoadModel, ModelOrder, ModelOrderDone, UnloadModel
from service.ipc.transport import ServerSocket
from service.processes.model_control import ModelControl
from service.processes.repository import ModelRepository

log = logs.get()


class ModelOrders:
    """Carries out orders for models. `on_end` gets the task of each when it has ended."""

    def __init__(
        self,
        control: ServerSocket,
        model_control: ModelControl,
        repository: ModelRepository,
        on_end: Callable[[asyncio.Task[None]], None],
    ) -> None:
        self.control, self.model_control, self.repository, self.on_end = control, model_control, repository, on_end
        self.tasks: set[asyncio.Task[None]] = set()

    def accept(self, message: AnyMessage) -> None:
        """Start to load or unload a model if a message, from any process of the run-time folder, orders that."""
        match message:
            case LoadModel(reference):
                self.start(self.model_control.load(reference))
            case UnloadModel(key):
                self.start(self.model_control.unload(key))

    def start(self, order: Coroutine[Any, Any, None]) -> None:
        """Start an order, which goes on in the background."""
        task = asyncio.create_task(order)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        task.add_done_callback(self.on_end)

    async def carry_out(self, frontend: str, order: ModelOrder) -> None:
        """Do what an operator orders through a frontend, and send the reply."""
        try:
            reply = ModelOrderDone(order.id, await self.repository.carry_out(order))
        except ServiceError as error:
            reply = ModelOrderDone(order.id, code=error.code, detail=error.detail)
        except Exception as error:  # an order that fails must not end the service
            log.error("model order failed", model=order.name, exc_info=error)
            reply = ModelOrderDone(order.id, code=Internal.code, detail="see the server's log")
        self.control.send(frontend.encode(), reply)
