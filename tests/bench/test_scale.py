"""The clients of the benchmarks, and what the sweeps conclude from their figures."""

import pytest

from bench.service import clients
from bench.service.scale import overlay_targets, overload_targets, worst_threads
from bench.service.sweeps import IMAGE
from tests.server import Server

OTHERS = {"peak/s": 90.0, "429 p99 ms": 20.0, "failed": 0}


@pytest.fixture(scope="module")
def server():
    with Server("--model", "twins_svt_nano", "--max-queue", "2") as running:
        yield running


def test_clients_in_closed_loop_count_every_answer_by_its_status(server):
    load = clients.closed([f"{server.http}/classify", f"{server.http}/nowhere"], IMAGE, clients=2, seconds=1)
    assert load.count(200) > 1
    assert abs(load.count(200) - load.count(404)) <= 2
    assert load.count(clients.LOST) == 0


def test_an_overload_in_open_loop_is_answered_or_refused_with_429(server):
    load = clients.opened([f"{server.http}/classify"], IMAGE, rate=400, seconds=1)
    assert {answer.status for answer in load.answers} == {200, 429}
    assert load.percentile_ms(50) > load.percentile_ms(0)


def test_a_server_that_is_gone_loses_requests():
    load = clients.closed(["http://127.0.0.1:9/classify"], IMAGE, clients=1, seconds=0.1)
    assert {answer.status for answer in load.answers} == {clients.LOST}


def test_the_worst_number_of_threads_is_compared_with_the_best_of_its_model():
    rows = [{"model": "a", "threads": n, "req/s": rate} for n, rate in ((1, 40.0), (2, 100.0))]
    (target,) = worst_threads([*rows])
    assert (target.measured, target.met) == ("40%", False)


def test_goodput_is_that_at_three_times_the_saturating_load():
    rows = [{"multiple": m, "req/s": rate, **OTHERS} for m, rate in ((1.0, 100.0), (2.0, 50.0), (3.0, 95.0))]
    target, _ = overload_targets(rows)
    assert (target.measured, target.met) == ("95%", True)


def test_the_peak_of_the_closed_loops_counts_for_the_goodput():
    target, _ = overload_targets([{"multiple": 3.0, "req/s": 95.0, **OTHERS, "peak/s": 110.0}])
    assert (target.measured, target.met) == ("86%", False)


@pytest.mark.parametrize(("others", "met"), [({}, True), ({"429 p99 ms": 101.0}, False), ({"failed": 1}, False)])
def test_an_overload_is_refused_at_once_and_with_429_only(others, met):
    _, target = overload_targets([{"multiple": 3.0, "req/s": 95.0, **OTHERS, **others}])
    assert target.met == met


@pytest.mark.parametrize(("took_ms", "met"), [(599.0, True), (600.0, False), (None, False)])
def test_an_overlay_of_twelve_megapixels_counts_alone(took_ms, met):
    rows = [{"megapixels": 1, "p50 ms": 9.0}, {"megapixels": 12, "p50 ms": took_ms}, {"megapixels": 24, "p50 ms": 9e9}]
    (target,) = overlay_targets(rows)
    assert target.met is met
