"""Write the figures of `bench.service.request` and their targets: `python -m bench.service.request_figures`."""

import json
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


def direct(found: Figures) -> dict[str, float]:
    """Return the work called directly, in milliseconds an image: the quickest of several measurements."""
    runs, largest = found["direct"], str(max(map(int, found["direct"][0]["forward_cpu"])))
    return {
        "decode + preprocess, CPU ms": min(each["prepare_cpu"] for each in runs),
        "forward, CPU ms an image in the largest batch": min(each["forward_cpu"][largest] for each in runs),
        "one image called directly, p50 ms": min(each["prepare_p50"] + each["forward_p50"]["1"] for each in runs),
    }


def loads(found: Figures) -> list[Row]:
    """Return a row for each number of clients, of the round in which the frontend was quickest."""
    best: dict[int, Mapping[str, Any]] = {}
    for each in found["loads"]:
        clients = each["clients"]
        best[clients] = min(best.get(clients, each), each, key=lambda load: load["frontend_cpu"])
    return [
        {
            "table": "requests",
            "clients": clients,
            "req/s": each["per_s"],
            "frontend, CPU ms": each["frontend_cpu"],
            "worker, CPU ms": each["worker_cpu"],
            "p50, ms": each["p50"],
            "p99, ms": each["p99"],
        }
        for clients, each in best.items()
    ]


def targets(bare: Mapping[str, float], rows: Sequence[Row]) -> Iterator[Target]:
    """Yield the targets: processor times with the most clients, and the time of one client."""
    prepare, forward, call = bare.values()
    alone, saturated = rows[0], rows[-1]
    for process, text, time, factor in (
        ("frontend", "decode + preprocess", prepare, FRONTEND),
        ("worker", "a forward pass in the largest batch", forward, WORKER),
    ):
        ratio = float(saturated[f"{process}, CPU ms"] or 0) / time
        what = f"Processor time of the {process} for a request with {saturated['clients']} clients, beside {text}"
        yield Target(what, f"at most {factor} ×", f"{ratio:.2f} ×", ratio <= factor)
    beyond = float(alone["p50, ms"] or 0) - call
    what = "p50 of one client beyond decode + preprocess + forward called directly"
    yield Target(what, f"at most {BEYOND_MS} ms", f"{beyond:.2f} ms", beyond <= BEYOND_MS)


@click.command()
@quick_option
@click.option("--seconds", default=4.0, show_default=True, help="Measure each load for this long in a round.")
def main(*, seconds: float, quick: bool) -> None:
    """Run the benchmark, print the figures and write docs/benchmarks/request.json."""
    found = measured(1.0 if quick else seconds)
    bare, rows = direct(found), loads(found)
    listed = [*rows, {"table": "called directly", **bare}]
    result = Result("request", listed, list(targets(bare, rows)))
    result.show()
    result.save(quick=quick)


if __name__ == "__main__":
    main()
