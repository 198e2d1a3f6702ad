"""Orders for models are answered, and one that fails ends nothing."""

import asyncio
from types import SimpleNamespace

import pytest

from service.errors import UnknownModel
from service.ipc.messages import ModelOrder, ModelOrderDone
from service.processes.model_orders import ModelOrders


@pytest.fixture
def sent():
    return []


@pytest.fixture
def orders(sent):
    """Return a function from an error to orders that fail with it."""

    def build(error: Exception) -> ModelOrders:
        async def fail(_: ModelOrder) -> None:
            raise error

        control = SimpleNamespace(send=lambda peer, message: sent.append((peer, message)))
        return ModelOrders(control, None, SimpleNamespace(carry_out=fail), lambda task: task.result())

    return build


async def reply(orders: ModelOrders, sent: list) -> ModelOrderDone:
    """Carry out an order, and return its reply."""
    orders.start(orders.carry_out("frontend-0.0", ModelOrder(7, "load", "pets")))
    await asyncio.gather(*orders.tasks)
    ((peer, message),) = sent
    assert (peer, message.id) == (b"frontend-0.0", 7)
    return message


async def test_an_order_that_fails_in_an_unforeseen_way_is_answered_and_ends_nothing(orders, sent):
    assert (await reply(orders(RuntimeError("a bug")), sent)).code == "internal"


async def test_an_order_that_is_refused_is_answered_with_the_reason(orders, sent):
    message = await reply(orders(UnknownModel("no such model")), sent)
    assert (message.code, message.detail) == ("unknown_model", "no such model")


async def test_an_order_that_has_ended_is_forgotten(orders, sent):
    failing = orders(RuntimeError("a bug"))
    await reply(failing, sent)
    assert not failing.tasks
