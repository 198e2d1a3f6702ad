"""The orders of operators on their way from a frontend to the supervisor."""

import asyncio
import itertools

from service.core.orders import Action, IndexEntry
from service.errors import BadRequest, DeadlineExceeded, Internal, ModelControlFailed, ServiceError, UnknownModel
from service.ipc.messages import ModelOrder, ModelOrderDone
from service.ipc.transport import ClientSocket

ERRORS = {error.code: error for error in (BadRequest, UnknownModel, ModelControlFailed, Internal)}
"""The errors that the supervisor may send."""


class SupervisorOrders:
    """Sends orders to the supervisor, and passes its replies to the calls that wait for them."""

    def __init__(self, control: ClientSocket, timeout_s: float) -> None:
        self.control, self.timeout_s = control, timeout_s
        self.ids = itertools.count()
        self.waiting: dict[int, asyncio.Future[tuple[IndexEntry, ...]]] = {}

    async def carry_out(self, action: Action, name: str = "", version: str = "") -> tuple[IndexEntry, ...]:
        """Send an order, and return the entries of the reply. Raise ServiceError."""
        number = next(self.ids)
        answer: asyncio.Future[tuple[IndexEntry, ...]] = asyncio.get_running_loop().create_future()
        self.waiting[number] = answer
        try:
            self.control.send(ModelOrder(number, action, name, version))
            async with asyncio.timeout(self.timeout_s):
                return await answer
        except TimeoutError:
            raise DeadlineExceeded(f"no answer within {self.timeout_s:g} s; the order goes on") from None
        finally:
            del self.waiting[number]

    def on_done(self, message: ModelOrderDone) -> None:
        """Pass on a reply, unless nobody waits for it anymore."""
        answer = self.waiting.get(message.id)
        if answer is None or answer.done():
            return
        if message.code:
            answer.set_exception(error_of(message))
        else:
            answer.set_result(message.entries)


def error_of(message: ModelOrderDone) -> ServiceError:
    """Return the error in a reply."""
    return ERRORS.get(message.code, Internal)(message.detail)
