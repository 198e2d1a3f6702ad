"""What the comparison with other servers concludes from its figures, and when a load begins."""

import itertools

import pytest

from bench.rivals import generators
from bench.rivals.__main__ import FACTORS, targets
from bench.rivals.contestants import CONTESTANTS, OURS
from bench.rivals.generators import Answer, Client, Load
from bench.rivals.measure import CLIENTS, Comparison, Found, Schedule
from bench.rivals.processes import ServerFailed

MODEL = "twins_svt_nano"
SCHEDULE = Schedule(rounds=2, warm_up_s=2, closed_s=3, open_s=10)


def found(rates: dict[str, tuple[float, ...]]) -> Found:
    """Return figures of one round: the throughput of each server with 1, 8 and 32 clients."""
    made = Found()
    for name, per_s in rates.items():
        for clients, rate in zip(CLIENTS, per_s, strict=True):
            made.closed[name, clients][0] = Load(rate, p50_ms=1, p99_ms=rate, errors=0)
        made.open[name] += [Load(1, p50_ms=1, p99_ms=rate, errors=0) for rate in per_s]
    return made


def client(monkeypatch: pytest.MonkeyPatch, seconds: list[float]) -> Client:
    """Return a client whose single answers take that long in turn, the last one for ever."""
    times = itertools.chain(seconds, itertools.repeat(seconds[-1]))
    made = Client(server=None, request=None, folder=None, fastest_s=0.1)
    monkeypatch.setattr(made, "ask", lambda: Answer(b"", next(times)))
    monkeypatch.setattr(generators.time, "monotonic", itertools.count().__next__)
    made.server = type("Server", (), {"contestant": OURS})
    return made


def test_each_server_has_the_number_of_clients_that_suits_it_best():
    figures = found({"twins": (10, 150, 120), "mosec": (10, 100, 20)})
    assert figures.saturated("mosec") == 100
    assert figures.ratio(["mosec"]) == 1.5


def test_a_rival_that_failed_leaves_its_targets_unmeasured():
    rates = {each.name: (1, 2, 3) for each in CONTESTANTS}
    figures = found({**rates, "twins": (1, 2, 9)})
    figures.failures["ray"] = "it ended"
    documented, runtime, latency = targets(MODEL, figures, CONTESTANTS)
    assert (documented.met, documented.measured) == (None, "not measured: ray failed")
    assert (runtime.met, runtime.measured) == (True, "3.00 × (mosec, OpenVINO)")
    assert (latency.met, latency.measured) == (None, "not measured: ray failed")


def test_every_target_counts_without_failures():
    figures = found({each.name: (1, 2, 3) for each in CONTESTANTS})
    assert [target.met for target in targets(MODEL, figures, CONTESTANTS)] == [False, False, False]
    assert set(FACTORS) >= {MODEL}


def test_the_latency_at_a_rate_is_the_median_of_its_rounds():
    assert found({"twins": (5, 9, 7)}).at_rate("twins").p99_ms == 7


@pytest.mark.parametrize(("clients", "rate", "seconds"), [(1, 100, 3), (32, 160, 4), (32, 12, 12), (32, 0, 12)])
def test_a_closed_loop_lasts_longer_where_a_server_is_slow(clients, rate, seconds):
    assert SCHEDULE.closed_seconds(clients, rate) == seconds


def test_a_server_is_idle_once_two_answers_in_a_row_are_fast(monkeypatch):
    busy = client(monkeypatch, [3.0, 0.15, 0.3, 0.2, 0.1, 9.0])
    busy.wait_until_idle()
    assert busy.ask().seconds == 9.0


def test_a_server_that_stays_busy_fails(monkeypatch):
    with pytest.raises(ServerFailed, match="still busy"):
        client(monkeypatch, [0.3]).wait_until_idle()


@pytest.mark.parametrize(("failing", "failed"), [(1, {}), (2, {"twins": "it ended"})])
def test_a_server_that_fails_is_tried_once_more(monkeypatch, failing, failed):
    outcomes = iter([ServerFailed("it ended")] * failing)

    def try_once(*_: object) -> None:
        if error := next(outcomes, None):
            raise error

    monkeypatch.setattr(Comparison, "try_once", try_once)
    comparison = Comparison(MODEL, SCHEDULE, [], Found())
    comparison.visit(OURS, lambda *_: None)
    assert comparison.found.failures == failed
    assert next(outcomes, None) is None
