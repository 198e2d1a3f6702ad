"""Measure how time, multiply-adds and memory grow with the image: `python -m bench.models.complexity`.

The networks have the widths and depths of `svt_nano`: SVT, PCPVT, and attention of every token to every other one, as
DeiT has it. Each pair of a network and a size has a process of its own, whose peak memory is measured. Writes
`docs/benchmarks/complexity.json`. The multiply-adds by window, which need no measurement, are in docs/paper.md.
"""

import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch

from bench.plots import curves
from bench.result import Result, Row, quick_option
from tools.documents import ROOT
from twins.network.cost import count
from twins.network.heads.classify import Classifier
from twins.network.variants import SVT_NANO, Family, Variant

NETWORKS: dict[str, Variant] = {
    "SVT": SVT_NANO,
    "PCPVT": replace(SVT_NANO, pattern=("G",) * 4, reductions=(8, 4, 2, 1)),
    "global attention": replace(SVT_NANO, pattern=("G",) * 4, reductions=(1, 1, 1, 1)),
}
SIDES = (112, 224, 448, 672, 896)
QUICK_SIDES = (112, 224)
TURN_S, MINIMUM_RUNS = 5.0, 3
CLASSES = 1000
CLEAR, RESET_PEAK = Path("/proc/self/clear_refs"), "5"
COLUMNS = {"complexity": ("ms", "milliseconds"), "complexity-flops": ("FLOPs, G", "multiply-adds, G")}
"""By plot: a column, and the label of its axis."""


def measure(name: str, side: int, seconds: float) -> dict[str, float]:
    """Return the time of an image in milliseconds, and the memory in MB that it needs beside the weights."""
    network, x, times = Classifier(NETWORKS[name], Family(), CLASSES).eval(), torch.zeros(1, 3, side, side), []
    CLEAR.write_text(RESET_PEAK)
    before = memory_mb("VmRSS")
    end = time.perf_counter() + seconds
    with torch.inference_mode():
        while len(times) < MINIMUM_RUNS or time.perf_counter() < end:
            began = time.perf_counter()
            network(x)
            times.append(time.perf_counter() - began)
    return {"ms": statistics.median(times) * 1e3, "memory, MB": memory_mb("VmHWM") - before}


def memory_mb(field: str) -> float:
    """Return a field of the process's status: VmRSS for its memory now, VmHWM for the most since it was reset."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[field].split()[0]) / 1024


def in_process(name: str, side: int, seconds: float) -> dict[str, float]:
    """Return what a process of its own measured. Raise CalledProcessError."""
    command = [sys.executable, "-m", "bench.models.complexity", "--cell", json.dumps([name, side, seconds])]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def rows(sides: Sequence[int], seconds: float) -> Iterator[Row]:
    """Yield a row for each network and size."""
    for name, variant in NETWORKS.items():
        for side in sides:
            with torch.device("meta"):
                network = Classifier(variant, Family(), CLASSES).eval()
                found = count(network, partial(network, torch.zeros(1, 3, side, side)))
            yield {
                "table": "complexity",
                "network": name,
                "side": side,
                "FLOPs, G": found.multiply_adds / 1e9,
                "of attention, G": found.attention / 1e9,
                **in_process(name, side, seconds),
            }


def growth(found: Sequence[Row]) -> Iterator[Row]:
    """Yield for each network the exponent of each quantity in the area of the image, from its two largest sizes."""
    for name in NETWORKS:
        first, last = [row for row in found if row["network"] == name][-2:]
        area = 2 * math.log(number(last, "side") / number(first, "side"))
        exponents = {
            column: math.log(number(last, column) / number(first, column)) / area
            for column in ("FLOPs, G", "of attention, G", "ms")
        }
        yield {"table": "exponents of the area", "network": name, **exponents}


def number(row: Row, column: str) -> float:
    """Return a figure of a row."""
    return float(row[column] or 0)


def plot(found: Sequence[Row], *, quick: bool) -> None:
    """Draw the time and the multiply-adds against the area of the image."""
    for name, (column, label) in COLUMNS.items():
        series = {
            network: [(number(row, "side") ** 2, number(row, column)) for row in found if row["network"] == network]
            for network in NETWORKS
        }
        curves(name, series, ("pixels of an image", label), quick=quick)


@click.command()
@quick_option
@click.option("--cell", hidden=True)
def main(*, quick: bool, cell: str | None) -> None:
    """Measure all networks at all sizes, and print them."""
    if cell is not None:
        given: Any = json.loads(cell)
        torch.set_num_threads(1)
        click.echo(json.dumps(measure(*given)))
        return
    found = list(rows(QUICK_SIDES if quick else SIDES, 0.2 if quick else TURN_S))
    result = Result("complexity", [*found, *growth(found)])
    result.show()
    result.save(quick=quick)
    plot(found, quick=quick)


if __name__ == "__main__":
    main()
