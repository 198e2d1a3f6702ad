"""A thousand simulated workers: every policy at 80 % utilisation, a sweep of it, skewed load and failures."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.result import Row
from bench.simulation.cluster import Failure, Outcome, Scenario, simulate
from bench.simulation.delays import figures, half_width, mean_figures
from bench.simulation.routing import POLICIES
from bench.simulation.service_times import MeasuredTimes, spread
from bench.simulation.timed_worker import BATCH_S, IMAGE_S

USUAL = 0.8  # of the images a second that all workers can run in full batches
SWEPT = ("central", "least", "two", "least-own", "random", "hosts-two")
SKEWED = ("least", "two", "random", "hosts-two", "hosts-random")
DEPLOYED = "hosts-two"
MODELS, MODEL_SKEW = 20, 1.0
CONNECTIONS = (100, 10)  # of clients, for each host
TIMED = spread([BATCH_S + IMAGE_S * size for size in range(1, 9)])  # the timed device of `check`
DEADLINE_S, MAX_QUEUE = 1.0, 64
RESTART_S = 3.0  # what a killed worker took to serve again in docs/reliability.md, rounded up
STEP_S = 0.25  # of the time line of a failure


@dataclass(frozen=True)
class Scale:
    """How large the runs are."""

    workers: int
    images: int  # of a run, of which the first third is not counted
    swept_images: int  # of a run of the sweep, which is longer, since queues near full use take long to settle
    runs: int
    utilisations: Sequence[float]
    failure_s: float  # how long a run with a failure lasts
    per_host: int = 8


FULL = Scale(1000, 120_000, 300_000, 3, (0.5, 0.6, 0.7, 0.8, 0.9), 9.0)
SHORT = Scale(40, 6_000, 6_000, 2, (0.5, 0.8), 5.0)


def rows(times: MeasuredTimes, scale: Scale) -> Iterator[Row]:
    """Yield the rows of all tables."""
    base = scenario(times, scale, USUAL, images=scale.images)
    for policy in POLICIES:
        yield {"table": "policies", "policy": policy, **repeated(replace(base, policy=policy), scale.runs)}
    gaining = scenario(TIMED, scale, USUAL, images=scale.images)
    for policy in POLICIES:
        yield {"table": "timed", "policy": policy, **repeated(replace(gaining, policy=policy), scale.runs)}
    for utilisation in scale.utilisations:
        for policy in SWEPT:
            swept = replace(scenario(times, scale, utilisation, images=scale.swept_images), policy=policy)
            yield {"table": "sweep", "policy": policy, "utilisation": utilisation, **repeated(swept, 1)}
    yield from skewed(base, scale)
    yield from failures(base, scale)


def scenario(times: MeasuredTimes, scale: Scale, utilisation: float, *, images: int) -> Scenario:
    """Return a scenario with equal shares and a frontend for each worker."""
    rate = utilisation * scale.workers * times.images_per_s
    seconds = images / rate
    return Scenario(
        times,
        DEPLOYED,
        rate,
        seconds,
        workers=scale.workers,
        frontends=scale.workers,
        per_host=scale.per_host,
        warm_up_s=seconds / 3,
    )


def repeated(base: Scenario, runs: int) -> Row:
    """Return the figures of several runs, which differ in their seeds."""
    outcomes = [simulate(replace(base, seed=seed)) for seed in range(runs)]
    waited = [figures(outcome.waited) for outcome in outcomes]
    latency = mean_figures([figures(outcome.latency) for outcome in outcomes])
    return {
        **{f"{name} ms": round(value, 2) for name, value in mean_figures(waited).items()},
        "± ms": round(half_width([each["mean"] for each in waited]), 2) if runs > 1 else None,
        "latency, mean ms": round(latency["mean"], 2),
        "latency, p99 ms": round(latency["p99"], 2),
        "batch": round(float(np.mean([outcome.images / outcome.batches for outcome in outcomes])), 2),
    }


def skewed(base: Scenario, scale: Scale) -> Iterator[Row]:
    """Yield rows of models of unequal shares, and of clients that stay with the host of their connection."""
    shared = replace(base, models=MODELS)
    for text, each in (
        (f"{MODELS} models, equal shares", shared),
        (f"{MODELS} models, shares 1, 1/2, 1/3 …", replace(shared, model_skew=MODEL_SKEW)),
    ):
        for policy in SKEWED:
            yield {
                "table": "skew",
                "load": text,
                "policy": policy,
                **repeated(replace(each, policy=policy), scale.runs),
            }
    for connections in CONNECTIONS:
        shares = pinned_shares(connections, base.frontends, base.frontends // base.per_host)
        text = f"{connections} connections a host"
        each = replace(base, policy="hosts-pinned", shares=shares)
        yield {"table": "skew", "load": text, "policy": "hosts-pinned", **repeated(each, scale.runs)}


def pinned_shares(per_host: int, frontends: int, hosts: int) -> list[float]:
    """Return the shares of frontends to which equal connections were distributed at random."""
    source, counts = random.Random(0), [0] * frontends
    for _ in range(per_host * hosts):
        counts[source.randrange(frontends)] += 1
    return [count / (per_host * hosts) for count in counts]


# ---------------------------------------------------------------------- failures


def domains(scale: Scale) -> dict[str, int]:
    """Return the number of workers that fail together, by what fails."""
    hosts = scale.workers // scale.per_host
    return {
        "nothing": 0,
        "a worker": 1,
        "a host": scale.per_host,
        "a tenth of the hosts": hosts // 10 * scale.per_host,
        "a third of the hosts": hosts // 3 * scale.per_host,
    }


def failures(base: Scenario, scale: Scale) -> Iterator[Row]:
    """Yield a row for each failure, and the rows of its time line."""
    at_s = scale.failure_s / 3
    for text, number in domains(scale).items():
        failing = replace(
            base,
            seconds=scale.failure_s,
            warm_up_s=at_s / 2,
            deadline_s=DEADLINE_S,
            max_queue=MAX_QUEUE,
            failures=(Failure(at_s, range(number), RESTART_S),) if number else (),
        )
        outcome = simulate(failing)
        yield {"table": "failures", "fails": text, "workers": number, **consequences(outcome, at_s)}
        for after_s, p99_ms in time_line(outcome, at_s):
            yield {"table": "time line", "fails": text, "after_s": after_s, "p99 ms": p99_ms}


def consequences(outcome: Outcome, at_s: float) -> Row:
    """Return what a failure cost."""
    began, waited = np.asarray(outcome.began), np.asarray(outcome.waited)
    meanwhile = (began >= at_s) & (began < at_s + RESTART_S)
    return {
        "p99 ms before": round(figures(waited[began < at_s])["p99"], 2),
        "p99 ms meanwhile": round(figures(waited[meanwhile])["p99"], 2),
        "p99 ms after": round(figures(waited[began >= at_s + RESTART_S + 1])["p99"], 2),
        "sent again": outcome.retried,
        "refused": outcome.refused,
        "expired": outcome.expired,
        "failed": outcome.failed,
        "answered": outcome.images,
    }


def time_line(outcome: Outcome, at_s: float) -> Iterator[tuple[float, float]]:
    """Yield the p99 of the wait in each step of time, by the seconds since the failure."""
    began, waited = np.asarray(outcome.began), np.asarray(outcome.waited)
    for start in np.arange(began.min(), began.max() - STEP_S, STEP_S):
        chosen = waited[(began >= start) & (began < start + STEP_S)]
        if len(chosen):
            yield round(float(start - at_s), 2), round(figures(chosen)["p99"], 2)
