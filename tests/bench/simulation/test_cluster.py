"""The simulated cluster: against queueing theory, and what must hold in every run."""

import math
import random
from dataclasses import dataclass, replace

import numpy as np
import pytest

from bench.simulation.cluster import Failure, Scenario, simulate
from bench.simulation.delays import half_width
from bench.simulation.routing import POLICIES
from bench.simulation.service_times import spread

RUNS = 8
MEASURED = spread((0.005, 0.007, 0.009, 0.011), (0.9, 1.0, 1.1))


@dataclass(frozen=True)
class Exponential:
    """Durations with a mean of a second, and no batches."""

    max_batch: int = 1
    start_s: float = 0.0

    def draw(self, _: int, source: random.Random) -> float:
        return source.expovariate(1.0)


def mean_waits(scenario: Scenario) -> list[float]:
    return [float(np.mean(simulate(replace(scenario, seed=seed)).waited)) for seed in range(RUNS)]


def mm1_wait(load: float) -> float:
    return load / (1 - load)


def md1_wait(load: float) -> float:
    return load / (2 * (1 - load))


def mmc_wait(load: float, servers: int) -> float:
    offered = load * servers
    busy = offered**servers / math.factorial(servers) / (1 - load)
    waits = busy / (sum(offered**n / math.factorial(n) for n in range(servers)) + busy)
    return waits / (servers * (1 - load))


THEORY = [
    ("M/M/1", Exponential(), 1, 0.5, mm1_wait(0.5)),
    ("M/M/1", Exponential(), 1, 0.7, mm1_wait(0.7)),
    ("M/D/1", spread([1.0]), 1, 0.7, md1_wait(0.7)),
    ("M/M/4", Exponential(), 4, 0.8, mmc_wait(0.8, 4)),
]


@pytest.mark.parametrize(("name", "times", "servers", "load", "expected"), THEORY)
def test_the_mean_wait_is_that_of_queueing_theory(name, times, servers, load, expected):
    policy = "central" if servers > 1 else "least"
    found = mean_waits(Scenario(times, policy, load * servers, 4000.0, workers=servers, warm_up_s=400.0))
    # of four intervals of 95 %, twice the width leaves one failure in thousands, and the seeds are fixed
    assert abs(np.mean(found) - expected) < 2 * half_width(found)
    assert half_width(found) < 0.15 * expected


def cluster(policy: str, **changes: object) -> Scenario:
    values = {"workers": 16, "frontends": 16, "rate": 0.8 * 16 * MEASURED.images_per_s, "seconds": 0.8, **changes}
    return Scenario(MEASURED, policy, **values)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_seed_gives_one_outcome(policy):
    once, again, other = (simulate(cluster(policy, seed=seed)) for seed in (1, 1, 2))
    assert once == again
    assert once != other


@pytest.mark.parametrize("policy", POLICIES)
def test_every_image_ends_once_whatever_fails(policy):
    failing = cluster(
        policy, models=3, deadline_s=0.2, max_queue=40, failures=(Failure(0.2, range(12), 0.3), Failure(0.4, [13], 0.1))
    )
    if policy == "central":
        failing = replace(failing, failures=())
    arrived = simulate(replace(failing, failures=(), deadline_s=math.inf, max_queue=math.inf)).images
    outcome = simulate(failing)
    assert outcome.images + outcome.refused + outcome.expired + outcome.failed == arrived
    assert outcome.retried > 0 or not failing.failures


def test_images_wait_for_the_first_worker_that_is_up_again():
    outcome = simulate(cluster("least-own", failures=(Failure(0.3, range(16), 0.2),)))
    assert max(outcome.waited) >= 0.2
    assert not outcome.failed


def test_an_image_fails_after_it_ran_in_two_crashes():
    slow = spread([10.0])
    failures = [Failure(at_s, [0], 0.5) for at_s in (2.0, 4.0)]
    outcome = simulate(Scenario(slow, "least", 1.0, 1.5, failures=failures), [[1.0]])
    assert (outcome.failed, outcome.retried, outcome.images) == (1, 1, 0)


def test_no_batch_is_larger_than_the_limit_and_none_is_empty():
    outcome = simulate(cluster("random", rate=2 * 16 * MEASURED.images_per_s))
    assert 1 <= outcome.images / outcome.batches <= MEASURED.max_batch


def test_two_choices_wait_less_than_random_ones_and_more_than_one_queue():
    waits = {policy: np.mean(simulate(cluster(policy, seconds=3.0)).waited) for policy in ("central", "two", "random")}
    assert waits["central"] < waits["two"] < waits["random"]


def test_a_frontend_that_takes_the_first_of_equal_workers_overloads_it():
    tied, turned = (np.mean(simulate(cluster(name)).waited) for name in ("least-own-first", "least-own"))
    assert tied > 1.3 * turned
