"""How long /classify waits beside eight clients of /segment: `python -m bench.fairness`.

Starts the service with the models that ship, on the CPU, and measures it in closed loop: each client sends its next
request when the last one is answered. The loads with and without the classifying client alternate, so that a machine
that is slow for a while is slow for both. Prints a table, and the same figures as one JSON object.
"""

import asyncio
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import click
import httpx

from tests.server import Server
from tools.documents import ROOT

PHOTO = (ROOT / "examples" / "cat.jpg").read_bytes()
SEGMENTERS = 8
WARM_UP_REQUESTS = 5


@dataclass(frozen=True)
class Load:
    """What some clients saw in one interval. Times in seconds."""

    classify_s: Sequence[float] = ()
    segment_s: Sequence[float] = ()
    segment_per_s: float = 0.0


@dataclass(frozen=True)
class Figures:
    """What is reported."""

    classify_alone_ms: float  # p50 of one client of /classify
    mask_alone_ms: float  # p50 of one client of /segment
    mask_under_load_ms: float  # the service's time per mask with eight clients: one second by the throughput
    classify_beside_masks_ms: float  # p50 of one client of /classify beside eight of /segment
    classify_beside_masks_p95_ms: float
    ratio: float  # of that p50 to the time of one mask under load
    ratio_to_mask_alone: float
    masks_per_s: float  # with eight clients of /segment
    masks_per_s_beside_classify: float
    throughput_kept: float  # the share of the first that the second is


async def client(base: str, path: str, until: float) -> list[float]:
    """Send requests one after another until that time; return how long each answer took."""
    took = []
    async with httpx.AsyncClient(base_url=base, timeout=60) as http:
        while time.perf_counter() < until:
            began = time.perf_counter()
            (await http.post(path, content=PHOTO)).raise_for_status()
            took.append(time.perf_counter() - began)
    return took


async def load(base: str, seconds: float, *, classifiers: int = 0, segmenters: int = 0) -> Load:
    """Return what so many clients saw."""
    began = time.perf_counter()
    until = began + seconds
    async with asyncio.TaskGroup() as group:
        classify = [group.create_task(client(base, "/classify", until)) for _ in range(classifiers)]
        segment = [group.create_task(client(base, "/segment", until)) for _ in range(segmenters)]
    masks = [took for task in segment for took in task.result()]
    elapsed = time.perf_counter() - began
    return Load([took for task in classify for took in task.result()], masks, len(masks) / elapsed)


def p50_ms(loads: Sequence[Sequence[float]]) -> float:
    """Return the median over all of them."""
    return 1000 * statistics.median(took for load in loads for took in load)


def measure(base: str, seconds: float, rounds: int) -> Figures:
    """Return the figures of a running service."""
    for path in ("/classify", "/segment"):
        for _ in range(WARM_UP_REQUESTS):
            httpx.post(base + path, content=PHOTO, timeout=60).raise_for_status()
    runs: dict[str, list[Load]] = {"classify": [], "mask": [], "masks": [], "both": []}
    for _ in range(rounds):
        runs["classify"].append(asyncio.run(load(base, seconds / 4, classifiers=1)))
        runs["mask"].append(asyncio.run(load(base, seconds / 2, segmenters=1)))
        runs["masks"].append(asyncio.run(load(base, seconds, segmenters=SEGMENTERS)))
        runs["both"].append(asyncio.run(load(base, seconds, classifiers=1, segmenters=SEGMENTERS)))
    return figures(runs)


def figures(runs: dict[str, list[Load]]) -> Figures:
    """Return what the loads amount to."""
    alone = statistics.median(run.segment_per_s for run in runs["masks"])
    beside = statistics.median(run.segment_per_s for run in runs["both"])
    mask_alone_ms = p50_ms([run.segment_s for run in runs["mask"]])
    classify_s = [took for run in runs["both"] for took in run.classify_s]
    classify_ms = p50_ms([classify_s])
    found = Figures(
        classify_alone_ms=p50_ms([run.classify_s for run in runs["classify"]]),
        mask_alone_ms=mask_alone_ms,
        mask_under_load_ms=1000 / alone,
        classify_beside_masks_ms=classify_ms,
        classify_beside_masks_p95_ms=1000 * statistics.quantiles(classify_s, n=20)[-1],
        ratio=classify_ms * alone / 1000,
        ratio_to_mask_alone=classify_ms / mask_alone_ms,
        masks_per_s=alone,
        masks_per_s_beside_classify=beside,
        throughput_kept=beside / alone,
    )
    return Figures(**{name: round(value, 3) for name, value in asdict(found).items()})


@click.command()
@click.option("--seconds", default=12.0, show_default=True, help="Measure each load for this long in a round.")
@click.option("--rounds", default=3, show_default=True, help="Alternate the loads this many times.")
def main(seconds: float, rounds: int) -> None:
    """Measure the service and print the figures."""
    with Server("--device", "cpu") as server:
        found = measure(server.http, seconds, rounds)
    for name, value in asdict(found).items():
        print(f"{name:32} {value:10.3f}")
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    main()
