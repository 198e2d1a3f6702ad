"""Measures the latency of /classify while eight clients use /segment: `python -m bench.service.fairness`.

Starts the service with the models that ship, on the CPU, and measures it in closed loop: each client sends its next
request when the last one is answered. The loads with and without the classifying client alternate, so that a machine
that is slow for a while is slow for both. Prints a table, and the same figures as one JSON object.
"""

import asyncio
import json
import re
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import click
import httpx

from tests.server import Server
from tools.documents import ROOT

IMAGE = (ROOT / "examples" / "cat.jpg").read_bytes()
SEGMENTERS = 8
WARM_UP_REQUESTS = 5
STAGE = re.compile(r"(\w+);dur=([\d.]+)")


@dataclass(frozen=True)
class Answer:
    """The time of one answer, as measured by its client and by the service."""

    took_s: float
    stages_ms: Mapping[str, float]


@dataclass(frozen=True)
class Load:
    """The answers to some clients in one interval."""

    classify: Sequence[Answer] = ()
    segment: Sequence[Answer] = ()
    masks_per_s: float = 0.0


@dataclass(frozen=True)
class Figures:
    """The reported figures."""

    classify_alone_ms: float  # p50 of one client of /classify
    mask_alone_ms: float  # p50 of one client of /segment
    mask_under_load_ms: float  # the service's time per mask with eight clients: one second by the throughput
    classify_beside_masks_ms: float  # p50 of one client of /classify beside eight of /segment
    classify_beside_masks_p95_ms: float
    ratio: float  # of that p50 to the time of one mask under load
    ratio_to_mask_alone: float
    masks_per_s: float  # with eight clients of /segment
    masks_per_s_beside_classify: float
    throughput_kept: float  # the second divided by the first
    classify_stages_ms: Mapping[str, float]  # p50 of each stage of /classify beside eight clients of /segment


async def client(http: httpx.AsyncClient, path: str, until: float) -> list[Answer]:
    """Send requests one after another until that time."""
    answers = []
    while time.perf_counter() < until:
        began = time.perf_counter()
        response = (await http.post(path, content=IMAGE)).raise_for_status()
        stages = STAGE.findall(response.headers["server-timing"])
        answers.append(Answer(time.perf_counter() - began, {name: float(ms) for name, ms in stages}))
    return answers


async def load(base: str, seconds: float, *, classifiers: int = 0, segmenters: int = 0) -> Load:
    """Return the answers to this number of clients."""
    async with httpx.AsyncClient(base_url=base, timeout=60) as http, asyncio.TaskGroup() as group:
        began = time.perf_counter()
        until = began + seconds
        classify = [group.create_task(client(http, "/classify", until)) for _ in range(classifiers)]
        segment = [group.create_task(client(http, "/segment", until)) for _ in range(segmenters)]
    masks = [answer for task in segment for answer in task.result()]
    elapsed = time.perf_counter() - began
    return Load([answer for task in classify for answer in task.result()], masks, len(masks) / elapsed)


def p50_ms(answers: Iterable[Answer]) -> float:
    """Return the median time of an answer."""
    return 1000 * statistics.median(answer.took_s for answer in answers)


def measure(base: str, seconds: float, rounds: int) -> Figures:
    """Return the figures of a running service."""
    for path in ("/classify", "/segment"):
        for _ in range(WARM_UP_REQUESTS):
            httpx.post(base + path, content=IMAGE, timeout=60).raise_for_status()
    runs: dict[str, list[Load]] = {"classify": [], "mask": [], "masks": [], "both": []}
    for _ in range(rounds):
        runs["classify"].append(asyncio.run(load(base, seconds / 4, classifiers=1)))
        runs["mask"].append(asyncio.run(load(base, seconds / 2, segmenters=1)))
        runs["masks"].append(asyncio.run(load(base, seconds, segmenters=SEGMENTERS)))
        runs["both"].append(asyncio.run(load(base, seconds, classifiers=1, segmenters=SEGMENTERS)))
    return figures(runs)


def figures(runs: dict[str, list[Load]]) -> Figures:
    """Return the figures of all loads."""
    alone = statistics.median(run.masks_per_s for run in runs["masks"])
    beside = statistics.median(run.masks_per_s for run in runs["both"])
    mask_alone_ms = p50_ms(answer for run in runs["mask"] for answer in run.segment)
    classify = [answer for run in runs["both"] for answer in run.classify]
    classify_ms = p50_ms(classify)
    stages = {name: statistics.median(answer.stages_ms[name] for answer in classify) for name in classify[0].stages_ms}
    return Figures(
        classify_alone_ms=p50_ms(answer for run in runs["classify"] for answer in run.classify),
        mask_alone_ms=mask_alone_ms,
        mask_under_load_ms=1000 / alone,
        classify_beside_masks_ms=classify_ms,
        classify_beside_masks_p95_ms=1000 * statistics.quantiles([answer.took_s for answer in classify], n=20)[-1],
        ratio=classify_ms * alone / 1000,
        ratio_to_mask_alone=classify_ms / mask_alone_ms,
        masks_per_s=alone,
        masks_per_s_beside_classify=beside,
        throughput_kept=beside / alone,
        classify_stages_ms={name: round(ms, 2) for name, ms in stages.items()},
    )


@click.command()
@click.option("--seconds", default=12.0, show_default=True, help="Measure each load for this long in a round.")
@click.option("--rounds", default=3, show_default=True, help="Alternate the loads this many times.")
def main(seconds: float, rounds: int) -> None:
    """Measure the service and print the figures."""
    with Server("--device", "cpu") as server:
        found = measure(server.http, seconds, rounds)
    for name, value in asdict(found).items():
        print(f"{name:32} {value if isinstance(value, dict) else round(value, 3)}")
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    main()
