"""The report of a run, as numbers."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.load.recorder import Recorder

PERCENTILES = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}


@dataclass(frozen=True)
class Report:
    """The result of a run without its warm-up. Latencies are those of requests that succeeded."""

    url: str
    schedule: str
    seconds: float  # that were measured
    requests: int
    succeeded: int
    throughput: float  # successful answers per second; those that came after the last second do not count
    latency_ms: dict[str, float]  # by the names in PERCENTILES, from the time at which a request was due
    late_ms: dict[str, float]  # how long after its time a request was sent
    errors: dict[str, int]  # the number of requests by the code of their error
    generator_cpu_ms: float  # processor time of the generator per request


@dataclass(frozen=True)
class Requests:
    """The recorded requests as arrays, in the order of their answers."""

    due_s: NDArray[np.float64]
    late_s: NDArray[np.float32]
    latency_s: NDArray[np.float32]
    outcome: NDArray[np.uint8]  # an index in `codes`; 0 is success
    codes: tuple[str, ...]

    @property
    def succeeded(self) -> NDArray[np.bool_]:
        """Return which requests succeeded."""
        succeeded: NDArray[np.bool_] = self.outcome == 0
        return succeeded


def requests_after(recorder: Recorder, warm_up_s: float) -> Requests:
    """Return the requests that were due after the warm-up."""
    due = np.array(recorder.due)
    kept = due >= warm_up_s
    return Requests(
        due[kept] - warm_up_s,
        np.array(recorder.late)[kept],
        np.array(recorder.latency)[kept],
        np.array(recorder.outcome)[kept],
        tuple(recorder.codes),
    )


def summarise(requests: Requests, *, url: str, schedule: str, seconds: float, cpu_s: float) -> Report:
    """Return the report of a run of that many seconds."""
    succeeded = requests.succeeded
    total = len(succeeded)
    in_time = succeeded & (requests.due_s + requests.latency_s <= seconds)
    failed = Counter(requests.codes[index] for index in requests.outcome[~succeeded])
    return Report(
        url=url,
        schedule=schedule,
        seconds=round(seconds, 3),
        requests=total,
        succeeded=int(succeeded.sum()),
        throughput=round(float(in_time.sum()) / seconds, 3) if seconds > 0 else 0.0,
        latency_ms=percentiles(requests.latency_s[succeeded]),
        late_ms=percentiles(requests.late_s),
        errors=dict(failed.most_common()),
        generator_cpu_ms=round(1000 * cpu_s / total, 3) if total else 0.0,
    )


def percentiles(seconds: NDArray[np.float32]) -> dict[str, float]:
    """Return the percentiles in milliseconds, by name; empty without values."""
    if not len(seconds):
        return {}
    found = np.percentile(seconds, list(PERCENTILES.values())) * 1000
    return {name: round(float(value), 3) for name, value in zip(PERCENTILES, found, strict=True)}
