"""Many mixed requests: days of light traffic in an hour, and what the processes hold meanwhile."""

import time
from contextlib import suppress
from dataclasses import replace
from random import Random

from tests.server import Server, wait_until
from tests.soak.clients import PATIENT, Ask
from tests.soak.images import BROKEN, SMALL
from tests.soak.load import Load, codes
from tests.soak.processes import address
from tests.soak.samples import Sample, growth, take
from tests.soak.scenario import NOTHING_LOST, Limit, Report, Scenario

SHORT, LONG = 20_000, 200_000
LONG_S = 3600.0  # over which the long form spreads its requests
WARM_UP = 1500  # requests, in which every kind occurs
EACH = 4  # clients of a kind
SHARES = {
    Ask(SMALL): 510,
    Ask(SMALL, "embed"): 280,
    Ask(SMALL, "segment"): 8,
    Ask(SMALL, "detect"): 2,
    Ask(BROKEN): 100,
    Ask(SMALL, model="unknown"): 100,
}
"""How many of a thousand requests are what. Masks and boxes take ten and a hundred times as long as classes."""
EXPECTED = {"ok", "cancelled", "unreadable_image", "unknown_model"}
MOMENTS = 100  # samples of a run
SETTLED_S = 15.0


def mixed() -> list[Ask]:
    """Return a thousand requests in a random order, the same ones each time."""
    asks = [ask for ask, share in SHARES.items() for _ in range(share)]
    Random(0).shuffle(asks)
    return asks


def serve_days(service: Server, requests: int) -> Report:
    """Send mixed requests, and compare what is held when nothing is in flight before and after."""
    ask_for_all(service)
    run(service, WARM_UP, 0.0)
    before = take(service, 0, 0)
    spread_s = LONG_S if requests >= LONG else 0.0
    load, samples = run(service, requests, spread_s)
    # the service notices a client that hangs up early or late, and each of these makes its series when it occurs first
    before = replace(before, series=samples[len(samples) // 2].series)
    after = settled(service, before)
    unexpected = sum(number for code, number in codes(load.outcomes).items() if code not in EXPECTED)
    grown = growth([sample.memory_bytes for sample in samples])
    figures = {
        "unexpected": unexpected,
        **{f"memory_growth, {role}": ratio for role, ratio in grown.items()},
        "memory_growth": max(grown.values()),
        **leaks(before, after),
        "threads_more": sum(growth([sample.threads for sample in samples]).values()),
    }
    return replace(load.report(**figures), samples=samples)


def ask_for_all(service: Server) -> None:
    """Send each kind of request over each protocol, since its first occurrence makes its series of metrics."""
    for kind in PATIENT:
        with Load(address(service), kinds=(kind,), each=1, asks=list(SHARES)) as load:
            wait_until(lambda load=load: len(load.outcomes) >= len(SHARES), timeout_s=60)


def run(service: Server, requests: int, spread_s: float) -> tuple[Load, list[Sample]]:
    """Send requests, spread over some time or at once, and sample the processes. Those who hang up ask for classes."""
    pause_s, samples, began = 5 * EACH * spread_s / requests, [], time.monotonic()
    patient = Load(address(service), each=EACH, asks=mixed(), pause_s=pause_s)
    with patient, Load(address(service), kinds=("hang-ups",), each=1, pause_s=max(0.2, pause_s)) as others:
        while (sent := len(patient.outcomes) + len(others.outcomes)) < requests:
            if sent >= len(samples) * requests / MOMENTS:
                samples.append(take(service, round(time.monotonic() - began, 1), sent))
            time.sleep(0.05)
    patient.outcomes += others.outcomes
    return patient, samples


def settled(service: Server, before: Sample) -> Sample:
    """Return what the processes hold when it is no more than before, or after some time."""
    with suppress(AssertionError):
        wait_until(lambda: not any(leaks(before, take(service, 0, 0)).values()), timeout_s=SETTLED_S)
    return take(service, 0, 0)


def leaks(before: Sample, after: Sample) -> dict[str, float]:
    """Return how much more is held than before, of all that should stay as it is."""
    return {
        "descriptors_more": total(after.descriptors, before.descriptors),
        "files_more": max(0, after.files - before.files),
        "series_more": max(0, after.series - before.series),
    }


def total(after: dict[str, int], before: dict[str, int]) -> int:
    """Return by how much the values of all processes have grown."""
    return sum(max(0, number - before.get(role, 0)) for role, number in after.items())


SCENARIOS = (
    Scenario(
        "days",
        f"{LONG:,} mixed requests within an hour: every task and protocol, bad images, unknown models, clients that"
        " hang up.",
        "Each gets the outcome that it should. The memory of each process grows by less than 2 % after the warm-up,"
        " and no descriptor, thread, file or metric series is left over.",
        serve_days,
        short=SHORT,
        long=LONG,
        long_s=round(LONG_S) + 60,
        limits=(
            *NOTHING_LOST,
            *(Limit(name, most=0) for name in ("unexpected", "files_more")),
            # in a short form a pool may start its last thread late, and a rare outcome may make its series late
            *(Limit(name, most=0, in_tests=5) for name in ("descriptors_more", "series_more")),
            Limit("threads_more", most=0, in_tests=0.1),
            Limit("memory_growth", most=0.02, in_tests=0.1),
        ),
    ),
)
