"""Write the figures of `bench.service.request` and their targets: `python -m bench.service.request_figures`."""

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from bench.result import Result, Row, Target, quick_option
from tools.documents import ROOT

Figures = Mapping[str, Any]

FRONTEND, WORKER, BEYOND_MS = 1.5, 1.1, 1.5
"""What is asked for: multiples of the processor time of the bare work, and the time of a request beyond that work."""


def measured(seconds: float) -> Figures:
    """Return what the benchmark prints in its last line. Raise CalledProcessError."""
    command = [sys.executable, "-m", "bench.service.request", "--seconds", str(seconds)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found: Figures = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def direct(found: Figures) -> list[dict[str, float]]:
    """Return the work called directly in each round, in milliseconds an image."""
    largest = str(max(map(int, found["direct"][0]["forward_cpu"])))
    return [
        {
            "decode + preprocess, CPU ms": each["prepare_cpu"],
            "forward, CPU ms an image in the largest batch": each["forward_cpu"][largest],
            "one image called directly, p50 ms": each["prepare_p50"] + each["forward_p50"]["1"],
        }
        for each in found["direct"]
    ]


def loads(found: Figures) -> dict[int, list[dict[str, float]]]:
    """Return what requests cost in each round, by the number of clients."""
    by_clients: dict[int, list[dict[str, float]]] = {}
    for each in found["loads"]:
        row = {
            "req/s": each["per_s"],
            "frontend, CPU ms": each["frontend_cpu"],
            "worker, CPU ms": each["worker_cpu"],
            "p50, ms": each["p50"],
            "p99, ms": each["p99"],
        }
        by_clients.setdefault(each["clients"], []).append(row)
    return by_clients


def medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the median of each figure over the rounds."""
    return {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}


def targets(
    bare: Sequence[Mapping[str, float]], by_clients: Mapping[int, Sequence[Mapping[str, float]]]
) -> Iterator[Target]:
    """Yield the targets: processor times with the most clients, and the time of one client.

    Each is compared with the work called directly in the same round, and the median of the rounds counts: the speed of
    a shared machine changes from one round to the next.
    """
    fewest, most = min(by_clients), max(by_clients)
    prepare, forward, call = bare[0]
    for process, text, work, factor in (
        ("frontend", "decode + preprocess", prepare, FRONTEND),
        ("worker", "a forward pass in the largest batch", forward, WORKER),
    ):
        pairs = zip(by_clients[most], bare, strict=True)
        ratio = statistics.median(load[f"{process}, CPU ms"] / alone[work] for load, alone in pairs)
        what = f"Processor time of the {process} for a request with {most} clients, beside {text}"
        yield Target(what, f"at most {factor} ×", f"{ratio:.2f} ×", ratio <= factor)
    pairs = zip(by_clients[fewest], bare, strict=True)
    beyond = statistics.median(load["p50, ms"] - alone[call] for load, alone in pairs)
    what = "p50 of one client beyond decode + preprocess + forward called directly"
    yield Target(what, f"at most {BEYOND_MS} ms", f"{beyond:.2f} ms", beyond <= BEYOND_MS)


@click.command()
@quick_option
@click.option("--seconds", default=1.5, show_default=True, help="Measure each load for this long in a round.")
def main(*, seconds: float, quick: bool) -> None:
    """Run the benchmark, print the figures and write docs/benchmarks/request.json."""
    found = measured(0.5 if quick else seconds)
    bare, by_clients = direct(found), loads(found)
    rows: list[Row] = [
        {"table": "requests", "clients": clients, **medians(rounds)} for clients, rounds in by_clients.items()
    ]
    result = Result("request", [*rows, {"table": "called directly", **medians(bare)}], list(targets(bare, by_clients)))
    result.show()
    result.save(quick=quick)


if __name__ == "__main__":
    main()
