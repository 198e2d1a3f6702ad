"""The service times that follow from recorded batches, and the service that records them."""

import pytest

from bench.service import clients
from bench.simulation.check import image
from bench.simulation.recording_worker import EVENT
from bench.simulation.records import Batch, batches, times_of, waits
from bench.simulation.service_times import measured_times
from bench.simulation.timed_worker import BATCH_S, IMAGE_S
from tests.server import Server, wait_until


def test_sizes_that_did_not_run_lie_on_lines():
    times = measured_times({1: [1.0] * 8, 3: [2.0] * 8}, max_batch=4)
    assert [each[0] for each in times.durations_s] == pytest.approx((1.0, 1.5, 2.0, 2.5))
    assert times.images_per_s == pytest.approx(4 / 2.5)


def test_one_size_is_not_enough():
    with pytest.raises(ValueError, match="two sizes"):
        measured_times({1: [1.0] * 9}, max_batch=4)


def test_the_time_around_a_batch_is_that_between_two_of_a_busy_worker():
    found = []
    for begin in range(0, 80, 10):
        found += [
            Batch("w", [begin + 0.0], begin + 0.1, 1.0),  # idle before: 0.1 s until it began
            Batch("w", [begin + 0.5, begin + 0.6], begin + 1.3, 1.5),  # 0.2 s after the one before
        ]
    times = times_of(found, max_batch=2)
    assert times.start_s == pytest.approx(0.1)
    assert [each[0] for each in times.durations_s] == pytest.approx((1.2, 1.7))


@pytest.fixture(scope="module")
def recorded():
    flags = ("--device", "cpu,cpu", "--model", "twins_svt_nano", "--max-batch", "8")
    with Server(*flags, program="bench.simulation.timed_service") as server:
        load = clients.opened([f"{server.http}/classify"], image(), rate=100, seconds=1)
        wait_until(lambda: sum(each.size for each in batches(server.events(EVENT))) >= load.count(200))
        yield load, batches(server.events(EVENT))


def test_every_image_is_in_one_batch(recorded):
    load, found = recorded
    assert sum(batch.size for batch in found) == load.count(200) == len(load.answers)
    assert {batch.worker for batch in found} == {"worker-0", "worker-1"}


def test_a_timed_device_takes_its_time_and_no_image_starts_before_it_arrives(recorded):
    _, found = recorded
    assert all(batch.infer_s >= BATCH_S + IMAGE_S * batch.size for batch in found)
    assert min(waits(found)) >= 0


def test_sizes_with_few_batches_are_spread_like_the_nearest():
    times = measured_times({1: [1.0, 3.0] * 8, 2: [4.0] * 8, 3: [9.0]}, max_batch=3)
    assert set(times.durations_s[0]) == {1.0, 3.0}
    assert set(times.durations_s[2]) == {6.0}
