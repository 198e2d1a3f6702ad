"""Clients that leave, send no more, read nothing, or are late."""

import asyncio
import logging

import grpc
import pytest
from hyperframe.frame import HeadersFrame, RstStreamFrame

from service.pb.twins.v1 import twins_pb2 as pb
from service.pb.twins.v1 import twins_pb2_grpc as pb_grpc
from service.rpc.stream import WIDTH
from tests.http2 import Client
from tests.service.core.engines import png, until

CLASSIFY, STREAM, WATCH = "/twins.v1.Twins/Classify", "/twins.v1.Twins/ClassifyStream", "/grpc.health.v1.Health/Watch"
REQUEST = pb.ClassifyRequest(image=png(), model="first")
INVALID_ARGUMENT, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED = "3", "4", "8"


@pytest.fixture(autouse=True)
def no_traceback(caplog):
    """Check that no client makes the library log an error."""
    yield
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def forgotten(running) -> None:
    """Wait until no call is open and no memory reserved."""
    await until(lambda: running.server.limits.open == 0)
    await until(lambda: running.engine.memory.reserved_bytes == 0)


def requests(client: Client, stream: int, count: int) -> None:
    """Begin a stream with so many requests."""
    client.send(client.headers(stream, STREAM))
    for _ in range(count):
        client.message(stream, REQUEST.SerializeToString())


@pytest.mark.parametrize("end", ["the connection", "the stream"])
async def test_a_stream_ends_when_its_client_vanishes(serve, end):
    running = await serve()
    running.pool.gate.clear()
    with Client(running.target) as client:
        requests(client, 1, 5)
        await until(lambda: len(running.pool.asked) == 5)
        if end == "the stream":
            client.send(RstStreamFrame(1, error_code=8))
            await forgotten(running)
    await forgotten(running)


async def test_a_client_that_sends_no_more_gets_all_answers(serve):
    running = await serve()
    stream = pb_grpc.TwinsStub(running.channel).ClassifyStream()
    for number in range(5):
        await stream.write(pb.ClassifyRequest(image=png(), model="first", id=str(number)))
    await stream.done_writing()
    assert sorted([item.id async for item in stream]) == list("01234")


async def test_a_call_without_a_message_is_a_bad_request(serve):
    running = await serve()
    with Client(running.target) as client:
        headers = client.headers(1, CLASSIFY)
        headers.flags.add("END_STREAM")
        client.send(headers)
        assert await asyncio.to_thread(client.statuses, 1) == {1: INVALID_ARGUMENT}


async def test_of_a_client_that_reads_no_answers_only_so_many_requests_are_read(serve):
    running = await serve(max_queue=1000)
    with Client(running.target, window=0) as client:
        requests(client, 1, 3 * WIDTH)
        client.round_trip()
        await until(lambda: len(running.pool.asked) >= WIDTH)
        await asyncio.to_thread(client.round_trip)
        assert len(running.pool.asked) <= WIDTH + 1
        assert running.engine.memory.reserved_bytes > 0
    await forgotten(running)


async def test_streams_whose_answers_are_not_read_do_not_outlive_the_grace(serve):
    running = await serve()
    with Client(running.target, window=0) as client:
        requests(client, 1, 2)
        await until(lambda: running.pool.asked)
        running.engine.close()
        async with asyncio.timeout(30):
            await running.server.stop(0.1)
    await forgotten(running)


async def test_a_watch_that_is_not_read_ends_with_the_service(serve):
    running = await serve()
    with Client(running.target, window=0) as client:
        client.call(1, WATCH)
        await asyncio.to_thread(client.wait_for, lambda frame: isinstance(frame, HeadersFrame))
        running.engine.close()
        async with asyncio.timeout(30):
            await running.server.stop(0.1)
    await forgotten(running)


@pytest.mark.parametrize("left", ["0n", "0S", "1n"])
async def test_a_deadline_that_has_passed_is_exceeded(serve, left):
    running = await serve()
    with Client(running.target) as client:
        client.send(client.headers(1, CLASSIFY, ("grpc-timeout", left)))
        client.message(1, REQUEST.SerializeToString(), flags=["END_STREAM"])
        assert await asyncio.to_thread(client.statuses, 1) == {1: DEADLINE_EXCEEDED}
    await forgotten(running)


async def test_a_message_that_is_too_long_is_refused_by_the_library(serve):
    running = await serve(max_body_bytes=1)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await pb_grpc.TwinsStub(running.channel).Classify(pb.ClassifyRequest(image=bytes(70_000)))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await forgotten(running)
