"""A model is loaded into a running service under load, answers, and is unloaded. No request fails."""

import asyncio
import os
import shutil
import signal
import uuid
from collections import Counter
from pathlib import Path

import httpx
import pytest

from service.ipc.messages import LoadModel, Message, UnloadModel, address
from service.ipc.transport import ClientSocket
from service.processes.child import CONTROL
from tests.server import Server, wait_until
from twins.zoo import hub
from twins.zoo.models import ModelReference, parse_reference


@pytest.fixture
def running(short_path):
    """Return a service, and the address of its supervisor."""
    with Server("--frontends", "2", "--model", "twins_svt_nano", environ={"TMPDIR": str(short_path)}) as server:
        (folder,) = (path for path in short_path.iterdir() if path.is_dir())
        yield server, address(folder, CONTROL)


@pytest.fixture
def own(tmp_path) -> ModelReference:
    """Return a model of one's own."""
    file = tmp_path / "own.safetensors"
    shutil.copy(hub.fetch(parse_reference("twins_svt_nano")), file)
    return ModelReference("own", file)


async def send(at: str, message: Message) -> None:
    """Send one message to the supervisor, as a client of its own: two of one name would lose messages."""
    client = ClientSocket(at, name=f"operator-{uuid.uuid4()}")
    client.send(message)
    client.close(linger_ms=10_000)


async def ask_until(done: asyncio.Event, base: str, model: str, image: bytes) -> Counter:
    """Ask one model until the event, and return the statuses."""
    statuses: Counter = Counter()
    async with httpx.AsyncClient(base_url=base, timeout=60) as client:
        while not done.is_set():
            response = await client.post("/classify", params={"model": model}, content=image)
            statuses[response.status_code] += 1
    return statuses


def names(server: Server) -> list[str]:
    """Return the models that are listed, by a frontend that is asked by chance."""
    return [model["name"] for model in httpx.get(f"{server.http}/models").json()["models"]]


async def until(condition, what: str) -> None:
    await asyncio.to_thread(wait_until, condition, what=what)


async def test_a_model_is_loaded_under_load_answers_and_is_unloaded_without_a_failed_request(running, own, cat):
    server, at = running
    done = asyncio.Event()
    old = [asyncio.create_task(ask_until(done, server.http, "twins_svt_nano", cat)) for _ in range(4)]
    await send(at, LoadModel(own))
    await until(lambda: all(names(server)[1:] == ["own"] for _ in range(8)), "both frontends list the new model")
    new = [asyncio.create_task(ask_until(done, server.http, "own", cat)) for _ in range(4)]
    before = server.metric("twins_requests_total", model="own", code="ok")
    await until(lambda: server.metric("twins_requests_total", model="own", code="ok") > before + 20, "answers")
    await send(at, UnloadModel("own"))
    await asyncio.to_thread(server.wait_for, "model unloaded", model="own")
    done.set()
    statuses = sum([*await asyncio.gather(*old)], Counter())
    assert set(statuses) == {200}
    assert set(sum([*await asyncio.gather(*new)], Counter())) <= {
        200,
        404,
    }  # 404 when it is withdrawn, and nothing else
    assert names(server) == ["twins_svt_nano"]


async def test_three_models_are_loaded_at_once_under_load_once_each_and_without_a_failed_request(running, own, cat):
    server, at = running
    done = asyncio.Event()
    new = ["first", "second", "third"]
    asking = [asyncio.create_task(ask_until(done, server.http, "twins_svt_nano", cat)) for _ in range(2)]
    for name in new:
        await send(at, LoadModel(ModelReference(name, own.checkpoint)))
    await until(lambda: all(names(server)[1:] for _ in range(8)), "both frontends list a new model")
    listed = server.events("model loaded")[1]["model"]  # the first of them, which both frontends list
    asking += [asyncio.create_task(ask_until(done, server.http, listed, cat)) for _ in range(2)]
    await until(lambda: all(set(new) < set(names(server)) for _ in range(8)), "both frontends list all new models")
    before = server.metric("twins_requests_total", model=listed, code="ok")
    await until(lambda: server.metric("twins_requests_total", model=listed, code="ok") > before + 20, "answers")
    done.set()
    assert set(sum(await asyncio.gather(*asking), Counter())) == {200}
    assert sorted(event["model"] for event in server.events("model loaded")) == [*new, "twins_svt_nano"]


async def test_a_worker_that_restarts_holds_the_models_that_were_loaded_since(running, own, cat):
    server, at = running
    await send(at, LoadModel(own))
    await until(lambda: "own" in names(server), "the model is listed")
    os.kill(server.pid("worker-0"), signal.SIGKILL)
    await asyncio.to_thread(server.wait_for, "worker ready", count=2)
    for model in ("own", "twins_svt_nano"):
        answer = httpx.post(f"{server.http}/classify", params={"model": model}, content=cat, timeout=30)
        assert answer.status_code == 200


async def test_a_model_that_cannot_be_loaded_disturbs_no_other(running, tmp_path, cat):
    server, at = running
    broken = Path(tmp_path) / "broken.pth"
    broken.write_bytes(b"not a checkpoint")
    await send(at, LoadModel(ModelReference("broken", broken)))
    await asyncio.to_thread(server.wait_for, "model withdrawn", model="broken")
    assert names(server) == ["twins_svt_nano"]
    assert httpx.post(f"{server.http}/classify", content=cat).status_code == 200
