"""The state that the supervisor derives from the history of a process. No process is started."""

import pytest

from service.ipc.messages import Heartbeat
from service.processes import slot
from service.processes.slot import FIRST_BACKOFF_S, LONGEST_BACKOFF_S, MAX_EARLY_EXITS, STABLE_S, ProcessSlot
from service.settings import Settings


@pytest.fixture
def clock(monkeypatch):
    """Return a clock that a test sets."""
    now = [1000.0]
    monkeypatch.setattr(slot.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def worker(clock):
    return ProcessSlot("worker-0", device="cpu")


def test_the_first_death_causes_no_wait(worker):
    worker.mark_ready()
    worker.mark_exited()
    assert worker.backoff_s == 0


def test_each_further_death_doubles_the_wait_up_to_a_limit(worker):
    waits = []
    for _ in range(12):
        worker.mark_ready()
        worker.mark_exited()
        waits.append(worker.backoff_s)
    assert waits[1:4] == [FIRST_BACKOFF_S, 2 * FIRST_BACKOFF_S, 4 * FIRST_BACKOFF_S]
    assert waits[-1] == LONGEST_BACKOFF_S


def test_earlier_deaths_are_forgotten_after_a_stable_time(worker, clock):
    for _ in range(5):
        worker.mark_ready()
        worker.mark_exited()
    worker.mark_ready()
    clock[0] += STABLE_S + 1
    worker.mark_exited()
    assert worker.backoff_s == 0


def test_a_worker_that_served_is_expected_back(worker):
    worker.mark_ready()
    worker.mark_exited()
    assert worker.state == "recovering"


def test_a_worker_that_dies_again_before_it_is_ready_is_broken(worker):
    worker.mark_ready()
    worker.mark_exited()
    worker.mark_exited()
    worker.mark_exited()
    assert worker.state == "broken"


def test_a_worker_that_never_served_is_loading_and_then_broken(worker):
    worker.mark_exited()
    assert worker.state == "loading"
    worker.mark_exited()
    assert worker.state == "broken"


def test_a_worker_that_exits_early_again_and_again_cannot_start_until_it_is_ready_once(worker):
    for _ in range(MAX_EARLY_EXITS):
        assert not worker.cannot_start
        worker.mark_exited()
    assert worker.cannot_start
    worker.mark_ready()
    assert not worker.cannot_start


def test_missing_heartbeats_and_long_batches_are_hangs_and_a_long_start_is_not(worker, clock):
    settings = Settings(hang_timeout_s=10, start_timeout_s=100)
    worker.started = worker.last_heartbeat = clock[0]
    clock[0] += 50
    assert worker.kill_reason(settings) is None
    worker.mark_ready()
    assert worker.kill_reason(settings) == "hang"
    worker.last_heartbeat = clock[0]
    assert worker.kill_reason(settings) is None
    worker.busy_s = 11
    assert worker.kill_reason(settings) == "hang"


def test_a_start_that_takes_too_long_is_a_hang(worker, clock):
    worker.started = clock[0]
    clock[0] += 101
    assert worker.kill_reason(Settings(start_timeout_s=100)) == "slow start"


def test_no_signal_is_sent_without_a_process(worker, monkeypatch):
    monkeypatch.setattr(slot.os, "kill", lambda *_: pytest.fail("a signal was sent"))
    worker.pid = 1
    worker.send(slot.signal.SIGTERM)


@pytest.mark.parametrize(("code", "words"), [(0, "exit 0"), (3, "exit 3"), (-9, "SIGKILL"), (-11, "SIGSEGV")])
def test_an_exit_has_a_readable_reason(code, words):
    assert slot.describe_exit(code) == words


@pytest.mark.parametrize(("canary_s", "after_s", "stale"), [(10, 29, False), (10, 31, True), (0, 999, False)])
def test_a_worker_without_success_for_three_canaries_does_not_compute(worker, clock, canary_s, after_s, stale):
    worker.mark_ready()
    clock[0] += after_s
    assert bool(worker.stale_reason(Settings(canary_s=canary_s))) is stale


def test_a_success_or_the_end_of_failures_makes_a_worker_compute_again(worker, clock):
    worker.mark_ready()
    worker.record(Heartbeat(0, clock[0], canary_failed=True))
    assert "failed twice" in worker.stale_reason(Settings())
    clock[0] += 100
    worker.record(Heartbeat(0, clock[0]))
    assert worker.stale_reason(Settings()) == ""
