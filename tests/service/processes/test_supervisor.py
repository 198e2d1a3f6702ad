"""The decisions of the supervisor on devices and on the end of the service. No process is started."""

import asyncio
import shutil
import signal
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from service.ipc.messages import DeviceChosen, Fatal, LoadModel, ModelStatus, Ready, UnloadModel
from service.processes import runtime_folder
from service.processes.slot import ProcessSlot
from service.processes.supervisor import EXIT_BROKEN, EXIT_MODEL, Supervisor
from service.settings import Settings
from tests.backends import card
from twins.zoo.models import ModelReference


@pytest.fixture
async def supervise(monkeypatch):
    """Return a function from settings to a supervisor with its slots, in which no process starts."""
    folder = runtime_folder.create()
    made = []

    async def idle(self, slot):
        slot.generation = 0

    monkeypatch.setattr(Supervisor, "supervise", idle)

    def build(**settings) -> Supervisor:
        supervisor = Supervisor(Settings(**settings), folder, ())
        supervisor.add_all()
        made.append(supervisor)
        return supervisor

    yield build
    for supervisor in made:
        supervisor.control.close()
    folder.remove()


def devices(supervisor: Supervisor) -> list[str]:
    return [slot.device for slot in supervisor.slots.workers]


async def test_auto_is_resolved_once_to_one_worker_for_each_gpu(supervise):
    supervisor = supervise(device=("auto",))
    supervisor.on_device(supervisor.slots["worker-0"], DeviceChosen("cuda:0", 3))
    assert devices(supervisor) == ["cuda:0", "cuda:1", "cuda:2"]


async def test_auto_that_found_no_gpu_stays_on_the_cpu(supervise):
    supervisor = supervise(device=("auto",))
    supervisor.on_device(supervisor.slots["worker-0"], DeviceChosen("cpu", 1))
    assert devices(supervisor) == ["cpu"]


async def test_a_restarted_worker_that_sees_other_devices_changes_nothing(supervise):
    supervisor = supervise(device=("auto",))
    first = supervisor.slots["worker-0"]
    supervisor.on_device(first, DeviceChosen("cuda:0", 2))
    supervisor.on_device(first, DeviceChosen("cuda:0", 1))
    assert devices(supervisor) == ["cuda:0", "cuda:1"]


async def test_a_restarted_worker_that_sees_more_devices_changes_nothing(supervise):
    supervisor = supervise(device=("auto",))
    first = supervisor.slots["worker-0"]
    supervisor.on_device(first, DeviceChosen("cuda:0", 1))
    supervisor.on_device(first, DeviceChosen("cuda:0", 4))
    assert devices(supervisor) == ["cuda:0"]


async def test_devices_that_were_named_get_no_further_workers(supervise):
    supervisor = supervise(device=("cuda:1",))
    supervisor.on_device(supervisor.slots["worker-0"], DeviceChosen("cuda:1", 8))
    assert devices(supervisor) == ["cuda:1"]


@pytest.mark.parametrize("early", [True, False])
async def test_a_further_worker_that_cannot_start_does_not_end_a_service_that_serves(supervise, early):
    supervisor = supervise(device=("cuda:0", "cuda:1"))
    supervisor.slots["worker-0"].mark_ready()
    if early:
        for _ in range(10):
            supervisor.slots["worker-1"].mark_exited()
        supervisor.end_if_nothing_serves(EXIT_BROKEN)
    else:
        await supervisor.on_fatal(supervisor.slots["worker-1"], Fatal("no such device"))
    assert not supervisor.stopping.is_set()


async def test_a_worker_that_is_still_loading_keeps_the_service_from_ending(supervise):
    supervisor = supervise(device=("cuda:0", "cuda:1"))
    await supervisor.on_fatal(supervisor.slots["worker-1"], Fatal("no such device"))
    assert not supervisor.stopping.is_set()


async def test_a_service_that_served_once_is_not_ended_when_its_only_worker_cannot_start_again(supervise):
    supervisor = supervise(device=("cuda:0",))
    worker = supervisor.slots["worker-0"]
    worker.mark_ready()
    worker.mark_exited()
    await supervisor.on_fatal(worker, Fatal("the device has gone"))
    assert not supervisor.stopping.is_set()


@pytest.mark.parametrize(("role", "code"), [("worker-0", EXIT_MODEL), ("frontend-0", EXIT_BROKEN)])
async def test_a_service_that_cannot_start_at_all_ends(supervise, role, code):
    supervisor = supervise(device=("cpu",))
    await supervisor.on_fatal(supervisor.slots[role], Fatal("no"))
    assert supervisor.stopping.is_set()
    assert supervisor.code == code


async def test_the_last_error_of_a_service_that_cannot_start_has_the_reason(supervise):
    supervisor = supervise(device=("cpu",))
    with capture_logs() as lines:
        await supervisor.on_fatal(supervisor.slots["worker-0"], Fatal("own.pth: this is a text file"))
    assert lines[-1]["event"] == "the service cannot start"
    assert lines[-1]["reasons"] == {"worker-0": "own.pth: this is a text file"}


async def test_a_process_that_exits_early_again_and_again_has_its_exit_as_the_reason(supervise):
    supervisor = supervise(device=("cpu",))
    with capture_logs() as lines:
        while not supervisor.stopping.is_set():
            supervisor.slots["worker-0"].exits = 0  # no pause before the next process
            await supervisor.handle_exit(supervisor.slots["worker-0"], "SIGSEGV")
    (last,) = (line for line in lines if line["event"] == "the service cannot start")
    assert last["reasons"] == {"worker-0": "SIGSEGV"}


NEW = ModelReference("new", Path("/new.pth"), Path("/new.pth"), "00ff")
OLD = ModelReference("old", Path("/old.pth"), Path("/old.pth"), "00ff")


@pytest.fixture
async def serving(supervise, monkeypatch):
    """Return a supervisor whose worker has `old` ready and loads `new`, and the messages that it sends, by peer."""
    supervisor, sent = supervise(device=("cpu",), frontends=2), []

    def send(peer, message):
        sent.append((peer.decode(), message))

    monkeypatch.setattr(supervisor.control, "send", send)
    for slot in supervisor.slots.values():
        slot.generation = 0
        slot.mark_ready()
    for reference in (OLD, NEW):
        supervisor.models.add(reference)
    supervisor.models.record([card("old")])
    supervisor.slots["worker-0"].models = {
        "old": ModelStatus("old", "00ff", "ready"),
        "new": ModelStatus("new", "00ff", "loading"),
    }
    return supervisor, sent


async def exits(supervisor, role) -> list[dict]:
    """Let a process exit, and return the log lines."""
    supervisor.slots[role].exits = 0  # no pause before the next process
    with capture_logs() as lines:
        await supervisor.handle_exit(supervisor.slots[role], "SIGKILL")
    return lines


async def test_a_model_whose_load_ends_the_worker_is_not_loaded_by_the_next_process(serving):
    supervisor, _ = serving
    lines = await exits(supervisor, "worker-0")
    assert [line["model"] for line in lines if line["event"] == "model not loaded"] == ["new"]
    assert supervisor.models.references == (OLD,)


async def test_a_model_that_waits_for_the_one_whose_load_ends_the_worker_is_loaded_by_the_next_process(serving):
    supervisor, _ = serving
    waiting = ModelReference("waiting", Path("/w.pth"), Path("/w.pth"), "00ff")
    await supervisor.model_control.update(supervisor.slots["worker-0"])
    supervisor.models.add(waiting)
    await supervisor.model_control.update_workers()
    await exits(supervisor, "worker-0")
    assert supervisor.models.references == (OLD, waiting)


async def test_a_model_that_another_worker_has_ready_stays_when_a_worker_exits_while_it_loads(serving):
    supervisor, _ = serving
    supervisor.models.record([card("new")])
    await exits(supervisor, "worker-0")
    assert supervisor.models.references == (OLD, NEW)


async def test_a_worker_that_was_never_ready_withdraws_no_model_when_it_exits(serving):
    supervisor, _ = serving
    supervisor.slots["worker-0"].has_served = False
    await exits(supervisor, "worker-0")
    assert supervisor.models.references == (OLD, NEW)


async def test_a_model_drains_no_longer_than_the_frontends_that_live(serving):
    supervisor, sent = serving
    await supervisor.model_control.unload("old")
    supervisor.slots["frontend-0"].released.add("old")
    await supervisor.model_control.finish()
    assert supervisor.models.draining == {"old"}
    await exits(supervisor, "frontend-1")
    assert ("worker-0.0", UnloadModel("old")) in sent


async def test_a_worker_gets_the_changes_since_its_start_when_it_is_ready(serving):
    supervisor, sent = serving
    worker = supervisor.slots["worker-0"]
    worker.ready, worker.models = False, {"old": ModelStatus("old", "00ff", "ready")}
    await supervisor.model_control.update_workers()
    assert [message for _, message in sent if isinstance(message, LoadModel)] == []
    await supervisor.on_ready(worker, Ready((card("old"),)))
    assert ("worker-0.0", LoadModel(NEW)) in sent


async def test_a_file_in_place_of_the_runtime_folder_is_logged_once_and_ends_nothing(supervise, monkeypatch):
    monkeypatch.setattr("service.processes.supervisor.FOLDER_S", 0.01)
    supervisor = supervise()
    folder = supervisor.folder.path
    shutil.rmtree(folder)
    folder.touch()
    with capture_logs() as lines:
        keeping = asyncio.create_task(supervisor.keep_folder())
        await asyncio.sleep(0.2)
        logged = [line["event"] for line in lines]
        folder.unlink()
        async with asyncio.timeout(10):
            while not (folder / "control").exists():
                await asyncio.sleep(0.01)
    keeping.cancel()
    assert logged == ["the run-time folder cannot be restored"]


async def test_a_frontend_that_starts_while_the_service_stops_is_told_to_stop_when_it_can_hear_it(
    supervise, monkeypatch
):
    sent = []
    monkeypatch.setattr(ProcessSlot, "send", lambda slot, number: sent.append((slot.role, number)))
    supervisor = supervise(frontends=1)
    supervisor.stopping.set()
    await supervisor.on_ready(supervisor.slots["frontend-0"], Ready())
    assert sent == [("frontend-0", signal.SIGTERM)]
