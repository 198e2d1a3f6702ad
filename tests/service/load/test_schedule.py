"""When requests are due."""

import itertools

import pytest

from service.load.schedule import Open


def due(schedule: Open, count: int) -> list[float]:
    return list(itertools.islice(schedule.due_times(), count))


def test_requests_are_due_at_the_rate_on_average():
    times = due(Open(rate=50.0), 20_000)
    assert times[-1] == pytest.approx(20_000 / 50, rel=0.03)


def test_the_intervals_are_as_irregular_as_those_of_independent_users():
    times = due(Open(rate=10.0), 20_000)
    intervals = [later - earlier for earlier, later in itertools.pairwise(times)]
    mean = sum(intervals) / len(intervals)
    deviation = (sum((each - mean) ** 2 for each in intervals) / len(intervals)) ** 0.5
    assert deviation == pytest.approx(
        mean, rel=0.05
    )  # as only the exponential distribution among the usual ones has it


def test_a_seed_repeats_the_times_and_another_one_does_not():
    assert due(Open(10.0, seed=1), 10) == due(Open(10.0, seed=1), 10)
    assert due(Open(10.0, seed=1), 10) != due(Open(10.0, seed=2), 10)
