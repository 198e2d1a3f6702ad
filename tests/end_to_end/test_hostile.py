"""Hostile files over both protocols: each gets its documented answer and does not harm the service."""

import asyncio
import io
import resource

import grpc
import httpx
import pytest
from PIL import Image

from service.pb.twins.v1 import twins_pb2 as pb
from service.pb.twins.v1 import twins_pb2_grpc as pb_grpc
from tests import hostile
from tests.server import RETURN_FREED, Server
from twins.images import decode
from twins.images.decode import Limits

FILES = hostile.files()
STATUS = {hostile.OK: 200, decode.NotAnImage: 415, decode.TooLarge: 413, decode.Undecodable: 422}
GROWTH_BYTES = 40 * 2**20  # of a process, over all rounds: allocators keep some pages, a leak of images is far more


@pytest.fixture(scope="module")
def servers(server, flags):
    """Return a service for each task."""
    with Server(*flags["detect"]) as other:
        yield {"classify": server, "detect": other}


@pytest.mark.parametrize("task", ["classify", "detect"])
@pytest.mark.parametrize("name", FILES)
def test_each_file_gets_its_documented_status(servers, name, task):
    files = {"image": ("image.jpg", FILES[name].data)}
    response = httpx.post(f"{servers[task].http}/{task}", files=files, timeout=30)
    assert response.status_code == STATUS[FILES[name].outcome], response.text


@pytest.mark.parametrize("task", ["classify", "detect"])
def test_grpc_agrees_on_every_file(servers, task):
    unlimited = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(servers[task].grpc, options=unlimited) as channel:
        call, request = getattr(pb_grpc.TwinsStub(channel), f"{task.title()}Stream"), f"{task.title()}Request"
        small = {name: file.data for name, file in FILES.items() if len(file.data) <= Limits.max_bytes}
        for answer in call(getattr(pb, request)(image=data, id=name) for name, data in small.items()):
            served = answer.WhichOneof("outcome") == "result"
            assert served == (FILES[answer.id].outcome == hostile.OK), answer


def test_there_are_enough_files_of_each_outcome():
    assert len(FILES) >= 40


async def send_all(base: str) -> set[int]:
    async with httpx.AsyncClient(base_url=base, timeout=60) as client:
        responses = await asyncio.gather(*(client.post("/classify", content=f.data) for f in FILES.values()))
        return {response.status_code for response in responses}


def least_memory(server: Server, statuses: set[int], rounds: int) -> dict[str, int]:
    """Send every file `rounds` times and return the least memory of each process, since freed pages come and go."""
    sizes = []
    for _ in range(rounds):
        statuses |= asyncio.run(send_all(server.http))
        sizes.append(server.memory_bytes())
    return {role: min(size[role] for size in sizes) for role in sizes[0]}


def test_memory_stays_constant_however_many_are_sent():
    statuses: set[int] = set()
    with Server(environ=RETURN_FREED) as server:
        before = least_memory(server, statuses, rounds=3)
        after = least_memory(server, statuses, rounds=6)
    assert statuses == {200, 400, 413, 415, 422}
    assert {role: size for role, size in after.items() if size - before[role] > GROWTH_BYTES} == {}


def small_files_only():
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * 2**20, 2 * 2**20))


def test_data_of_clients_is_never_written_to_disk():
    image = io.BytesIO()
    Image.new("RGB", (1400, 1400)).save(image, "BMP")
    assert len(image.getvalue()) > 5 * 2**20
    with Server(preexec=small_files_only) as server:
        for request in ({"files": [("image", image.getvalue())] * 3}, {"content": image.getvalue()}):
            assert httpx.post(f"{server.http}/classify", timeout=30, **request).status_code == 200
