"""Streams of requests: how many are in flight, and what a client that does not read costs."""

import asyncio
import gc
import weakref
from collections.abc import Collection
from dataclasses import dataclass

import pytest

from service.access import quotas
from service.access.quotas import PAUSE_S
from service.core.call import Caller
from service.core.engine import Engine
from service.core.memory import MemoryAccount, MemoryBudget
from service.errors import BadRequest, QuotaExceeded
from service.pb.twins.v1 import twins_pb2 as pb
from service.rpc.answering import Answering
from service.rpc.servicer import Servicer
from service.rpc.stream import WIDTH, Stream
from service.settings import Settings
from tests import clock
from tests.service.core.engines import FakePool

CALLER = Caller("stream", "grpc", 0.0)


@dataclass
class Asked:
    """A stream over a model that answers at once, and how many requests it has read."""

    stream: Stream
    memory: MemoryAccount
    read: int = 0

    def answers(self, count: int):
        """The answers to so many requests."""
        return self.stream.answers(self.requests(count), CALLER, self.memory)

    async def requests(self, count: int):
        for number in range(count):
            self.read += 1
            yield pb.ClassifyRequest(id=str(number))


async def answer(request, _):
    await asyncio.sleep(0)
    if request.id == "7":
        raise BadRequest("seven")
    return pb.ClassifyResponse(id=request.id)


@pytest.fixture
async def asked():
    with MemoryBudget(1).open() as memory:
        yield Asked(Stream(answer, pb.ClassifyStreamResponse, asyncio.Event(), Answering()), memory)


async def settle(asked):
    """Wait until the stream reads no further request."""
    before = -1
    while asked.read != before:
        before = asked.read
        for _ in range(50):
            await asyncio.sleep(0)


async def test_every_request_is_answered_once(asked):
    found = [item.id async for item in asked.answers(500)]
    assert sorted(map(int, found)) == list(range(500))


async def test_a_client_that_does_not_read_is_not_read_either(asked):
    answers = asked.answers(10_000)
    await anext(answers)
    await settle(asked)
    assert asked.read <= WIDTH + 2
    await answers.aclose()


async def test_each_answer_that_is_read_makes_place_for_a_request(asked):
    answers = asked.answers(10_000)
    for _ in range(100):
        await anext(answers)
    await settle(asked)
    assert 100 < asked.read <= WIDTH + 102
    await answers.aclose()


async def test_a_bad_request_has_an_error_and_ends_nothing(asked):
    found = {item.id: item async for item in asked.answers(20)}
    assert found["7"].error.code == "bad_request"
    assert len(found) == 20


async def test_a_stream_ends_when_the_service_stops(asked):
    never = asyncio.Event()

    async def one_then_silence():
        yield pb.ClassifyRequest(id="1")
        await never.wait()

    answers = asked.stream.answers(one_then_silence(), CALLER, asked.memory)
    await anext(answers)
    asked.stream.closing.set()
    async with asyncio.timeout(10):
        assert [item async for item in answers] == []


async def test_answers_that_are_not_fetched_count_as_memory(asked):
    answers = asked.answers(10_000)
    first = await anext(answers)
    await settle(asked)
    assert asked.memory.size_bytes >= WIDTH * first.ByteSize()
    await answers.aclose()


async def test_answers_that_are_fetched_count_no_more(asked):
    assert len([item async for item in asked.answers(20)]) == 20
    assert asked.memory.size_bytes == 0


# ---------------------------------------------------------------------- requests beyond the share of a client


def sharing(refused: Collection[int]) -> Stream:
    """Return a stream of a client that has no share left for some requests."""

    async def answer(request, _):
        if int(request.id) in refused:
            raise QuotaExceeded("too many", retry_after_s=1)
        return pb.ClassifyResponse(id=request.id)

    return Stream(answer, pb.ClassifyStreamResponse, asyncio.Event(), Answering())


def times(refused: Collection[int], count: int) -> dict[int, float]:
    """Return when each of so many requests is answered, in seconds."""

    async def run() -> dict[int, float]:
        loop = asyncio.get_running_loop()
        with MemoryBudget(1).open() as memory:
            answers = Asked(sharing(refused), memory).answers(count)
            return {int(item.id): loop.time() async for item in answers}

    return clock.run(run())


def test_a_refusal_in_a_stream_comes_after_a_pause_in_which_others_are_answered():
    found = times({0, 1, 2}, WIDTH)
    assert {number for number, time in found.items() if time == 0} == set(range(3, WIDTH))
    assert [found[number] for number in (0, 1, 2)] == pytest.approx([PAUSE_S] * 3)


def test_a_stream_is_read_no_faster_than_its_width_per_pause_when_all_is_refused():
    assert max(times(range(5 * WIDTH), 5 * WIDTH).values()) == pytest.approx(5 * PAUSE_S)


@dataclass(eq=False)
class Watched:
    """A request that, unlike a message, can be referred to without being held."""

    id: str


async def test_the_images_of_refused_requests_are_not_held_during_the_pause(monkeypatch):
    monkeypatch.setattr(quotas, "PAUSE_S", 3600)
    held = weakref.WeakSet()

    async def requests():
        for number in range(10):
            request = Watched(str(number))
            held.add(request)
            yield request

    with MemoryBudget(1).open() as memory:
        answers = sharing(range(9)).answers(requests(), CALLER, memory)
        await anext(answers)  # the one that is not refused
        assert [request.id for request in held if request.id != "9"] == []
        await answers.aclose()


class Context:
    """The context of a call without metadata and without a deadline."""

    def invocation_metadata(self):
        return ()

    def time_remaining(self):
        return None

    def peer(self):
        return "ipv4:127.0.0.1:1"

    def set_trailing_metadata(self, _):
        pass


@pytest.mark.parametrize("answered", [0, 1], ids=["waiting for an answer", "writing an answer"])
@pytest.mark.parametrize("turns", range(10))
async def test_a_stream_whose_client_leaves_gives_all_memory_back(turns, answered):
    servicer, gate = Servicer(Engine(Settings(), FakePool()), Answering()), asyncio.Event()

    async def answer(request, _):
        if int(request.id) >= answered:
            await gate.wait()
        return pb.ClassifyResponse(id=request.id)

    async def requests():
        for number in range(20):
            yield pb.ClassifyRequest(id=str(number))
        await asyncio.Event().wait()

    async def call():
        stream = Stream(answer, pb.ClassifyStreamResponse, asyncio.Event(), Answering())
        async for _ in servicer.stream(stream, requests(), Context()):
            await asyncio.Event().wait()  # the client does not fetch it

    calling = asyncio.create_task(call())
    await asyncio.sleep(0.01)
    calling.cancel()
    for _ in range(turns):
        await asyncio.sleep(0)
    gate.set()  # the other answers become ready while the stream ends
    await asyncio.wait([calling])
    del calling
    gc.collect()
    await asyncio.sleep(0.01)
    assert servicer.engine.memory.reserved_bytes == 0
