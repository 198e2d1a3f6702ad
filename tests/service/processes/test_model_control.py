"""Loading and unloading of models: what the supervisor sends to the workers, and what it rejects."""

import asyncio
import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from service.ipc.messages import LoadModel, Message, ModelStatus, UnloadModel, WorkerModels
from service.processes.model_control import ModelControl
from service.processes.served import ServedModels
from service.processes.slot import ProcessSlot
from service.processes.slots import Slots
from twins.zoo import hub
from twins.zoo.models import ModelReference


class RecordingSocket:
    """A control socket that keeps what it would send."""

    def __init__(self) -> None:
        self.sent: list[Message] = []

    def send(self, _: bytes, message: Message) -> None:
        self.sent.append(message)


async def publish() -> None:
    """Send the frontends nothing."""


@pytest.fixture
def socket():
    return RecordingSocket()


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "own.pth"
    path.write_bytes(b"one version")
    return path


@pytest.fixture
def control(socket, file):
    """Return a control with one worker, which has the model `own` ready."""
    reference = hub.resolve(ModelReference("own", file))
    worker = ProcessSlot("worker-0", "cpu", generation=0)
    worker.mark_ready()
    worker.models = {"own": ModelStatus("own", reference.sha256, "ready")}
    frontend = ProcessSlot("frontend-0", generation=0)
    frontend.mark_ready()
    return ModelControl(ServedModels([reference]), socket, Slots({"worker-0": worker, "frontend-0": frontend}), publish)


async def load(control: ModelControl, name: str, file: Path) -> list[dict]:
    """Load a model, and return the log lines. Only one may run at a time: two captures that overlap never end."""
    with capture_logs() as lines:
        await control.load(ModelReference(name, file))
    return lines


def assert_rejected(lines: list[dict]) -> None:
    """Assert that the log has the error that says what to do."""
    (line,) = lines
    assert (line["event"], line["log_level"], line["model"]) == ("model not loaded", "error", "own")
    assert "unload it first" in line["detail"]


async def test_a_further_model_is_loaded_by_the_workers(control, socket, file):
    assert await load(control, "other", file) == []
    assert socket.sent == [LoadModel(hub.resolve(ModelReference("other", file)))]


async def test_another_version_of_a_model_that_is_served_is_rejected_with_a_log_line(control, socket, file):
    served = control.models.wanted["own"]
    file.write_bytes(b"another version")
    assert_rejected(await load(control, "own", file))
    assert socket.sent == []
    assert control.models.wanted["own"] == served


async def test_a_model_that_is_draining_is_not_loaded_again_without_a_log_line(control, socket, file):
    await control.unload("own")
    assert control.models.draining == {"own"}
    assert_rejected(await load(control, "own", file))
    assert socket.sent == []


async def test_a_model_that_a_worker_still_unloads_is_not_loaded_again_without_a_log_line(control, socket, file):
    control.slots["frontend-0"].released.add("own")
    await control.unload("own")
    assert socket.sent == [UnloadModel("own")]
    assert_rejected(await load(control, "own", file))


async def test_a_model_is_loaded_again_once_all_workers_have_unloaded_it(control, socket, file):
    control.slots["frontend-0"].released.add("own")
    await control.unload("own")
    control.slots["worker-0"].models = {}
    assert await load(control, "own", file) == []
    assert [type(message) for message in socket.sent] == [UnloadModel, LoadModel]


@pytest.mark.parametrize("fault", [ValueError("embedded null byte"), PermissionError("no"), RuntimeError("a bug")])
async def test_a_load_that_fails_in_any_way_is_logged_and_ends_nothing(control, socket, file, monkeypatch, fault):
    def fail(_):
        raise fault

    monkeypatch.setattr(hub, "resolve", fail)
    (line,) = await load(control, "other", file)
    assert (line["event"], line["model"], line["detail"]) == ("model not loaded", "other", str(fault))
    assert socket.sent == []


async def test_a_path_with_a_null_byte_is_logged_and_ends_nothing(control):
    (line,) = await load(control, "other", Path("a\0b"))
    assert line["event"] == "model not loaded"


async def test_two_models_are_sent_to_a_worker_once_each(control, socket, file):
    await asyncio.gather(*(control.load(ModelReference(name, file)) for name in ("first", "second")))
    worker = control.slots["worker-0"]
    await control.on_models(worker, WorkerModels(tuple(worker.models.values()), ()))
    assert sorted(message.reference.name for message in socket.sent) == ["first", "second"]


async def test_a_model_that_is_unloaded_while_a_worker_loads_it_is_unloaded_when_it_is_ready(control, socket, file):
    control.slots["frontend-0"].released.add("other")
    await load(control, "other", file)
    await control.unload("other")
    assert [type(message) for message in socket.sent] == [LoadModel]
    version = control.slots["worker-0"].models["other"].sha256
    await control.on_models(control.slots["worker-0"], WorkerModels((ModelStatus("other", version, "ready"),), ()))
    assert UnloadModel("other") in socket.sent


async def test_a_model_is_unloaded_although_its_weights_are_still_read_when_the_order_comes(control, file, monkeypatch):
    reading, resolve = threading.Event(), hub.resolve
    monkeypatch.setattr(hub, "resolve", lambda reference: reading.wait(30) and resolve(reference))
    loading = asyncio.create_task(control.load(ModelReference("other", file)))
    await asyncio.sleep(0)
    unloading = asyncio.create_task(control.unload("other"))
    await asyncio.sleep(0)
    reading.set()
    await asyncio.gather(loading, unloading)
    assert control.models.draining == {"other"}


async def test_the_unloading_of_a_model_that_is_not_served_is_logged(control):
    with capture_logs() as lines:
        await control.unload("none")
    assert [(line["event"], line["model"]) for line in lines] == [("model not unloaded", "none")]


async def test_a_model_that_fails_on_a_worker_is_withdrawn(control):
    version = control.models.wanted["own"].sha256
    await control.on_models(control.slots["worker-0"], WorkerModels((ModelStatus("own", version, "failed"),), ()))
    assert control.models.draining == {"own"}


async def test_a_worker_that_reports_other_models_than_those_to_serve_gets_the_changes(control, socket):
    await control.on_models(control.slots["worker-0"], WorkerModels((ModelStatus("former", "00ff", "ready"),), ()))
    assert socket.sent == [LoadModel(control.models.wanted["own"]), UnloadModel("former")]


async def test_another_version_that_fails_on_a_worker_withdraws_nothing(control):
    await control.on_models(control.slots["worker-0"], WorkerModels((ModelStatus("own", "00ff", "failed"),), ()))
    assert control.models.draining == set()
