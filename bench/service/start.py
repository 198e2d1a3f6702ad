"""Measure the start and the memory of the service: `python -m bench.service.start`.

A start is from the command to the log line `ready`, with the models that ship. The first one has an empty cache of
exported networks; the second one uses what the first one left there.
"""

import os
import statistics
import tempfile
import time
from pathlib import Path

import click
import httpx
import psutil

from bench.result import Result, Row, Target, quick_option
from tests.server import Server, wait_until
from tools.documents import ROOT

IMAGE = (ROOT / "examples" / "cat.jpg").read_bytes()
REQUESTS = 20
TIMEOUT_S = 600.0
START_S, FRONTEND_MB = 6.0, 110.0


def start(which: str, cache: Path) -> Row:
    """Start and stop the service, and return how long it took and the memory of its processes."""
    began = time.perf_counter()
    with Server("--device", "cpu", environ={"HF_HOME": str(cache)}, wait=False) as server:
        wait_until(lambda: server.events("ready"), timeout_s=TIMEOUT_S, what="ready")
        ready_s = time.perf_counter() - began
        spent_s = {role: server.cpu_s(role) for role in ("frontend-0", "worker-0")}
        load = os.getloadavg()[0]
        for path in ["/classify", "/segment"] * REQUESTS:
            httpx.post(server.http + path, content=IMAGE, timeout=60).raise_for_status()
        memory = {role: psutil.Process(server.pid(role)).memory_full_info() for role in spent_s}
        return {
            "start": which,
            "ready_s": round(ready_s, 2),
            "load_average": round(load, 1),  # of the machine: other programs make a start slower
            "frontend_cpu_s": round(spent_s["frontend-0"], 2),
            "worker_cpu_s": round(spent_s["worker-0"], 2),
            "frontend_rss_mb": round(memory["frontend-0"].rss / 1e6, 1),
            "frontend_pss_mb": round(memory["frontend-0"].pss / 1e6, 1),
            "worker_rss_mb": round(memory["worker-0"].rss / 1e6, 1),
        }


def median(rows: list[Row], column: str) -> float:
    """Return the median of a column."""
    return statistics.median(float(row[column] or 0) for row in rows)


@click.command()
@quick_option
@click.option("--rounds", default=3, show_default=True, help="Start with an empty and with a filled cache so often.")
def main(*, rounds: int, quick: bool) -> None:
    """Measure, print and write the figures."""
    rows: list[Row] = []
    for _ in range(1 if quick else rounds):
        with tempfile.TemporaryDirectory() as cache:
            rows += [start(which, Path(cache)) for which in ("first", "second")]
    targets = [
        at_most(f"From the command to ready, {which} start", median(chosen, "ready_s"), START_S, "s")
        for which in ("first", "second")
        for chosen in [[row for row in rows if row["start"] == which]]
    ]
    targets.append(
        at_most("Resident memory of a frontend", median(rows, "frontend_rss_mb"), FRONTEND_MB, "MB"),
    )
    result = Result("start", rows, targets)
    result.show()
    result.save(quick=quick)


def at_most(text: str, measured: float, most: float, unit: str) -> Target:
    """Return a target for a figure that must stay below a bound."""
    return Target(text, f"under {most:g} {unit}", f"{measured:.3g} {unit}", met=measured < most)


if __name__ == "__main__":
    main()
