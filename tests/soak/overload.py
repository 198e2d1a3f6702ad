"""Three times as many requests as the service can answer."""

import threading
import time

import httpx

from tests.server import Server
from tests.soak.flood import Flooding, Target, flooder
from tests.soak.images import SMALL
from tests.soak.load import Load, codes
from tests.soak.processes import NANO, address
from tests.soak.samples import growth
from tests.soak.scenario import Limit, Report, Scenario

SATURATING = 32  # clients, with which the service reaches its peak
CLIENTS, TIMES = 200, 3
QUEUE = 100  # images, which an overload fills at once
TIMEOUT_S = 5.0
PROBED = ("/readyz", "/metrics")
INTERVAL_S = 0.1


class Probe:
    """Asks for health and metrics during a `with` block, and records how long the answers took."""

    def __init__(self, service: Server) -> None:
        self.service, self.took_s, self.memory = service, [], []
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.repeat)

    def __enter__(self) -> "Probe":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()

    def repeat(self) -> None:
        with httpx.Client(base_url=self.service.http, timeout=30) as client:
            while not self.done.wait(INTERVAL_S):
                for path in PROBED:
                    began = time.monotonic()
                    client.get(path).raise_for_status()
                    self.took_s.append(time.monotonic() - began)
                self.memory.append(self.service.memory_bytes())

    def p99_ms(self) -> float:
        """Return the time within which 99 in 100 were answered."""
        return 1000 * sorted(self.took_s)[int(0.99 * len(self.took_s))]


def overload(service: Server, seconds: int) -> Report:
    """Measure the peak, and then the goodput beyond it."""
    target = Target(f"{service.http}/classify", SMALL)
    with flooder() as floods:
        peak = floods.start(Flooding(target, SATURATING, max(3, seconds / 4))).result()
        with (
            Probe(service) as probe,
            Load(address(service), kinds=("REST, kept connections", "gRPC"), pause_s=0.2) as load,
        ):
            seen = floods.start(Flooding(target, CLIENTS, seconds, TIMES * peak.rate(200))).result()
    took = [answer.ended_s - answer.due_s for answer in seen.answers if answer.status == 200]
    refused, done = seen.count(429), seen.count(200)
    without_time = sum(number for code, number in codes(load.outcomes).items() if code.endswith("for ever"))
    return Report(
        sent=len(seen.answers),
        answered=done,
        refused=refused,
        lost=len(seen.answers) - done - refused,
        slowest_s=max(took),
        figures={
            "peak_per_s": peak.rate(200),
            "offered_per_s": len(seen.answers) / seconds,
            "goodput": seen.rate(200) / peak.rate(200),
            "refused_without_retry_after": without_time,
            "refused_p99_ms": seen.percentile_ms(99, 429) or 0.0,
            "health_p99_ms": probe.p99_ms(),
            "memory_growth": max(growth(probe.memory).values()),
        },
    )


SCENARIOS = (
    Scenario(
        "overload",
        "200 clients send three times as many requests as the service can answer.",
        "It answers at least 90 % of its peak, and refuses the rest with 429 and Retry-After. Memory stays flat, no"
        " answer is later than the deadline of 5 s, and health and metrics answer within 100 ms (p99).",
        overload,
        short=6,
        long=60,
        long_s=90,
        limits=(
            Limit("lost", most=0),
            Limit("goodput", least=0.9, in_tests=0.5),
            Limit("refused_without_retry_after", most=0),
            Limit("slowest_s", most=TIMEOUT_S + 0.5, in_tests=TIMEOUT_S + 5),
            Limit("health_p99_ms", most=100, in_tests=10_000),
            Limit("memory_growth", most=0.02, in_tests=0.5),
        ),
        flags=(*NANO, "--max-queue", str(QUEUE), "--request-timeout-s", str(TIMEOUT_S)),
    ),
)
