"""The work for a client ends when the client disconnects."""

import asyncio

import pytest

from service.errors import Cancelled
from service.rest.peer import Peer


@pytest.fixture
def peer():
    return Peer()


async def wait(peer: Peer) -> None:
    with peer.waits():
        await asyncio.Event().wait()


async def test_the_work_for_a_client_that_disconnects_is_cancelled(peer):
    working = asyncio.create_task(wait(peer))
    await asyncio.sleep(0)
    peer.leave()
    with pytest.raises(Cancelled):
        await working


async def test_no_work_starts_for_a_client_that_has_gone(peer):
    peer.leave()
    with pytest.raises(Cancelled):
        await wait(peer)


async def test_a_cancellation_from_elsewhere_goes_on(peer):
    working = asyncio.create_task(wait(peer))
    await asyncio.sleep(0)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working


async def test_a_client_that_disconnects_after_its_answer_cancels_nothing(peer):
    with peer.waits():
        pass
    peer.leave()
    await asyncio.sleep(0)  # a cancellation would be raised here
