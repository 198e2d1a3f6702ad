"""Each client has a share of the service, over both protocols together."""

import asyncio
from collections import Counter

import grpc
import httpx
import pytest

from service.pb.twins.v1 import twins_pb2 as pb
from service.pb.twins.v1 import twins_pb2_grpc as pb_grpc
from tests.server import Server

FLOOD = 40
CALM = 10


@pytest.fixture(scope="module")
def shared():
    """Room for four images, of which each client may have two."""
    environ = {"TWINS_API_KEYS": "flooding:one,calm:two"}
    with Server("--client-in-flight", "2", "--max-queue", "4", environ=environ) as running:
        yield running


async def post(client: httpx.AsyncClient, key: str, image: bytes) -> httpx.Response:
    return await client.post("/classify", content=image, headers={"X-API-Key": key})


def test_the_flood_of_a_client_leaves_the_requests_of_another_answered(shared, cat):
    async def run() -> tuple[list[httpx.Response], list[httpx.Response]]:
        limits = httpx.Limits(max_connections=FLOOD)
        async with httpx.AsyncClient(base_url=shared.http, timeout=60, limits=limits) as client:
            over = asyncio.Event()

            async def flood() -> list[httpx.Response]:
                found = []
                while not over.is_set():
                    found.append(await post(client, "one", cat))
                return found

            floods = [asyncio.create_task(flood()) for _ in range(FLOOD)]
            async with httpx.AsyncClient(base_url=shared.http, timeout=60) as calm:
                answers = [await post(calm, "two", cat) for _ in range(CALM)]
            over.set()
            return answers, [each for found in await asyncio.gather(*floods) for each in found]

    answers, flooded = asyncio.run(run())
    assert Counter(each.status_code for each in answers) == {200: CALM}
    refused = [each for each in flooded if each.status_code == 429]
    assert {each.json()["code"] for each in refused} == {"quota_exceeded"}
    assert all(int(each.headers["retry-after"]) >= 1 for each in refused)
    assert 200 in {each.status_code for each in flooded}


def test_grpc_refuses_alike(shared, cat):
    with grpc.insecure_channel(shared.grpc) as channel:
        classify = pb_grpc.TwinsStub(channel).Classify
        calls = [classify.future(pb.ClassifyRequest(image=cat), metadata=[("x-api-key", "one")]) for _ in range(FLOOD)]
        refused = [each for each in calls if each.code() == grpc.StatusCode.RESOURCE_EXHAUSTED]
    assert refused
    assert {dict(each.trailing_metadata())["twins-code"] for each in refused} == {"quota_exceeded"}
