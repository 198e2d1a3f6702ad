"""The table of process slots: who sent a message, who is ready, and whether the service is able to start."""

import pytest

from service.processes.slot import ProcessSlot
from service.processes.slots import Slots


@pytest.fixture
def slots():
    devices = {"worker-0": "cpu", "worker-1": "cpu", "frontend-0": "", "frontend-1": ""}
    return Slots({role: ProcessSlot(role, device, generation=2) for role, device in devices.items()})


def test_a_message_of_a_process_belongs_to_its_slot(slots):
    assert slots.of("worker-1.2") is slots["worker-1"]


@pytest.mark.parametrize("name", ["worker-1.1", "worker-7.2", "worker-1", "\ufffd", ""])
def test_a_message_of_a_process_that_has_exited_or_is_unknown_belongs_to_no_slot(slots, name):
    assert slots.of(name) is None


def test_workers_and_frontends_are_told_apart(slots):
    slots["worker-1"].mark_ready()
    slots["frontend-0"].mark_ready()
    assert [slot.role for slot in slots.workers] == ["worker-0", "worker-1"]
    assert [slot.role for slot in slots.frontends] == ["frontend-0", "frontend-1"]
    assert [slot.role for slot in (*slots.ready_workers, *slots.ready_frontends)] == ["worker-1", "frontend-0"]


@pytest.mark.parametrize("kind", ["worker", "frontend"])
def test_a_service_is_unable_to_start_when_no_process_of_a_kind_can(slots, kind):
    slots[f"{kind}-0"].cannot_start = True
    assert not slots.unable_to_start()
    slots[f"{kind}-1"].cannot_start = True
    assert [slot.role for slot in slots.unable_to_start()] == [f"{kind}-0", f"{kind}-1"]


def test_a_process_that_has_served_before_may_serve_again(slots):
    slots["worker-0"].mark_ready()
    for slot in slots.workers:
        slot.cannot_start = True
    assert not slots.unable_to_start()
