"""Each client has a share of the service. Time is a fake clock."""

import asyncio
from contextlib import ExitStack

import pytest

from service.access import quotas
from service.access.quotas import Quotas
from service.core.memory import MemoryBudget
from service.errors import QuotaExceeded
from tests import clock

UNUSED = MemoryBudget(0).open()  # by any thread


def send(shares: Quotas, client: str = "one", images: int = 1) -> int | None:
    """Send images that are answered at once. Return after how many seconds to come back if they are refused."""
    try:
        with shares.admitted(client, images, UNUSED):
            return None
    except QuotaExceeded as refused:
        return refused.retry_after_s


def later(steps, shares: Quotas) -> list[int | None]:
    """Return what `send` returns for each (pause in seconds, number of images)."""

    async def run() -> list[int | None]:
        found = []
        for pause_s, images in steps:
            await asyncio.sleep(pause_s)
            found.append(send(shares, images=images))
        return found

    return clock.run(run())


# ---------------------------------------------------------------------- images per second


def test_a_client_may_send_a_second_of_images_at_once():
    assert later([(0, 1)] * 4, Quotas(images_per_s=3)) == [None, None, None, 1]


def test_a_share_returns_with_time():
    assert later([(0, 2), (0.4, 1), (0.2, 1), (0, 1)], Quotas(images_per_s=2)) == [None, 1, None, 1]


def test_unused_time_is_not_saved():
    assert later([(0, 1), (100, 2), (0, 1)], Quotas(images_per_s=2)) == [None, None, 1]


def test_a_slow_share_has_room_for_one_image_and_says_when_the_next_may_come():
    assert later([(0, 1), (0, 1), (5, 1), (5, 1)], Quotas(images_per_s=0.1)) == [None, 10, 5, None]


def test_a_call_with_more_images_than_a_second_brings_leaves_a_debt():
    assert later([(0, 6), (0, 1), (2, 1), (0.5, 1)], Quotas(images_per_s=2)) == [None, 3, 1, None]


# ---------------------------------------------------------------------- images in flight


async def test_a_client_may_have_so_many_images_in_flight():
    shares = Quotas(in_flight=3)
    with shares.admitted("one", 2, UNUSED):
        assert send(shares, images=2) == 1
        assert send(shares, images=1) is None
    assert send(shares, images=3) is None


async def test_a_client_does_not_use_the_share_of_another():
    shares = Quotas(in_flight=1, images_per_s=1)
    with shares.admitted("one", 1, UNUSED):
        assert send(shares, "one") == 1
        assert send(shares, "two") is None


async def test_images_that_threads_still_work_on_after_their_call_are_in_flight():
    shares = Quotas(in_flight=3)
    with ExitStack() as thread:
        with MemoryBudget(0).open() as memory, shares.admitted("one", 2, memory):
            thread.enter_context(memory.in_thread())
        assert send(shares, images=2) == 1
        assert send(shares, images=1) is None
    assert send(shares, images=3) is None
    assert not shares.clients


async def test_without_limits_nothing_is_counted():
    shares = Quotas()
    with shares.admitted("one", 1000, UNUSED):
        assert not shares.clients


async def test_a_refused_call_uses_nothing():
    shares = Quotas(in_flight=1)
    with shares.admitted("one", 1, UNUSED):
        send(shares, images=5)
        assert shares.clients["one"].in_flight == 1


def test_a_refusal_comes_after_a_pause_in_which_others_are_served():
    shares = Quotas(in_flight=1)

    async def run() -> list[str]:
        order = []

        async def refused() -> None:
            with pytest.raises(QuotaExceeded):
                await shares.check("one", 1)
            order.append("refused")

        async def served() -> None:
            await shares.check("two", 1)
            order.append("served")

        with shares.admitted("one", 1, UNUSED):
            await asyncio.gather(refused(), served())
        return order

    assert clock.run(run()) == ["served", "refused"]


# ---------------------------------------------------------------------- memory


async def test_clients_with_nothing_in_flight_are_forgotten():
    shares = Quotas(in_flight=2)
    for number in range(100):
        send(shares, str(number))
    assert not shares.clients


def test_clients_that_have_their_whole_share_again_are_forgotten():
    shares = Quotas(images_per_s=1)

    async def run() -> None:
        for number in range(100):
            send(shares, str(number))
            await asyncio.sleep(0.1)

    clock.run(run())
    assert len(shares.clients) <= 12


async def test_a_flood_of_clients_does_not_grow_the_table(monkeypatch):
    monkeypatch.setattr(quotas, "MAX_CLIENTS", 50)
    shares = Quotas(in_flight=5, images_per_s=0.001)
    with shares.admitted("busy", 5, UNUSED):
        for number in range(500):
            send(shares, str(number))
        assert len(shares.clients) <= 51
        assert send(shares, "busy") == 1
