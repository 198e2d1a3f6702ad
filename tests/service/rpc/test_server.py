"""The end of the gRPC server: no call is lost that the library has received but not handed over yet."""

import asyncio
from collections.abc import Awaitable

import pytest

from service.pb.inference import grpc_service_pb2 as v2
from service.pb.twins.v1 import twins_pb2 as pb
from service.rpc import server
from tests.http2 import Client
from tests.service.core.engines import png

CALLS = 8
OK = "0"
METHODS = {
    "/twins.v1.Twins/Classify": pb.ClassifyRequest(image=png(), model="first"),
    "/twins.v1.Twins/ListModels": pb.ListModelsRequest(),
    "/inference.GRPCInferenceService/ModelMetadata": v2.ModelMetadataRequest(name="first"),
}


def send_unnoticed(client: Client, method: str) -> None:
    """Send calls that the library receives, in threads of its own, but cannot hand over: this blocks the event loop."""
    for number in range(CALLS):
        client.call(2 * number + 1, method, METHODS[method].SerializeToString())
    client.round_trip()


async def statuses_at_the_end(client: Client, stopping: Awaitable[None]) -> list[str]:
    """Return the status of each call when the server has stopped."""
    found, _ = await asyncio.gather(asyncio.to_thread(client.final_statuses), stopping)
    return list(found.values())


@pytest.mark.parametrize("method", METHODS)
async def test_calls_that_are_not_handed_over_yet_are_answered_when_the_server_stops(serve, method):
    running = await serve()
    with Client(running.target) as client:
        send_unnoticed(client, method)
        assert await statuses_at_the_end(client, running.server.stop(10)) == [OK] * CALLS


async def test_the_library_alone_would_lose_them(serve):
    running = await serve()
    with Client(running.target) as client:
        send_unnoticed(client, "/twins.v1.Twins/Classify")
        found = await statuses_at_the_end(client, running.server.server.stop(10))
        assert 0 < found.count(OK) < CALLS


async def test_answers_wait_until_the_library_accepts_no_more_calls(serve):
    running = await serve()
    running.server.answering.free.clear()
    with Client(running.target) as client:
        for stream, method in enumerate(METHODS):
            client.call(2 * stream + 1, method, METHODS[method].SerializeToString())
        answers = asyncio.create_task(asyncio.to_thread(client.statuses, len(METHODS)))
        await running.server.wait_for_quiet()
        assert not answers.done()
        running.server.answering.free.set()
        assert set((await answers).values()) == {OK}


async def test_a_client_that_is_silent_does_not_delay_the_end(serve, monkeypatch):
    monkeypatch.setattr(server, "FAREWELL_S", 0.1)
    running = await serve()
    with Client(running.target) as silent:
        silent.round_trip()
        async with asyncio.timeout(60):
            await running.server.stop(10_000)
