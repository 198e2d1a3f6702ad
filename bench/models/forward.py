"""Compare forward passes with those of other runtimes: `python -m bench.models.forward`.

Ours is `Model.run` on ready samples, which includes normalisation and what is kept of the output; theirs is the bare
forward pass on a ready, normalised batch. The rivals are timm's network in PyTorch, as TorchScript, in ONNX Runtime and
in OpenVINO, exported as their documentation teaches, with a fixed batch size. timm has no segmentation networks, so for
these our own PyTorch network is exported in the same way.

All of one cell take turns in one process, and a cell is the median of the turns. Outputs are compared before.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import click

from bench import environments
from bench.plots import bars
from bench.result import Result, Row, Target, quick_option
from tools.documents import ROOT

RIVALS = ("PyTorch", "TorchScript", "ONNX Runtime", "OpenVINO")
ENOUGH = 0.97
"""Ours counts as at least as fast as the fastest rival from this ratio on."""


@dataclass(frozen=True)
class Job:
    """One network at one size, in batches, with a number of threads: what one process measures."""

    model: str
    size: tuple[int, int]  # height, width
    batches: Sequence[int]
    threads: int
    seconds: float = 8.0  # for each batch size


CLASSIFIERS = {"twins_svt_nano": (112, 112), "twins_svt_small": (224, 224), "twins_pcpvt_small": (224, 224)}
SEGMENTERS = {"twins_svt_nano_fpn": (512, 683), "twins_svt_small_fpn_ade20k": (512, 683)}
JOBS = (
    *(Job(model, size, (1, 4, 16), threads) for model, size in CLASSIFIERS.items() for threads in (1, 2)),
    *(Job(model, size, (1, 4), 2) for model, size in SEGMENTERS.items()),
)
QUICK = (
    Job("twins_svt_nano", (112, 112), (1, 4, 16), 2, 3.0),
    Job("twins_svt_small", (224, 224), (1, 4), 2, 4.0),
    Job("twins_svt_nano_fpn", (512, 683), (1,), 2, 4.0),
)


def measured(job: Job) -> list[dict[str, Any]]:
    """Return the rows of one job, measured by a process of its own. Raise CalledProcessError."""
    command = [str(environments.python(environments.OURS)), "-m", "bench.models.cells", json.dumps(asdict(job))]
    environ = {**os.environ, "OMP_NUM_THREADS": str(job.threads)}
    done = subprocess.run(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True, check=True)
    rows: list[dict[str, Any]] = json.loads(done.stdout.strip().splitlines()[-1])
    return rows


def compared(row: Mapping[str, Any]) -> Row:
    """Return a row with the ratio of ours to the fastest rival."""
    rivals = {name: row[name] for name in RIVALS if row.get(name)}
    fastest = max(rivals, key=lambda name: rivals[name])
    return {"table": "forward", **row, "fastest rival": fastest, "ratio": row["ours"] / rivals[fastest]}


def targets(rows: Sequence[Row]) -> Iterator[Target]:
    """Yield the target of each network."""
    for model in dict.fromkeys(str(row["model"]) for row in rows):
        ratios = [float(row["ratio"] or 0) for row in rows if row["model"] == model]
        text = f"Forward pass of {model}, images a second beside the fastest other runtime"
        reached = sum(ratio >= ENOUGH for ratio in ratios)
        found = f"{min(ratios):.2f} to {max(ratios):.2f} ×; {reached} of {len(ratios)} cells reach it"
        yield Target(text, f"at least {ENOUGH} × in every cell", found, reached == len(ratios))


def plot(rows: Sequence[Row], *, quick: bool) -> None:
    """Draw the images a second of all, relative to the fastest rival."""
    labels = [f"{row['model']}\n{row['threads']} threads, batch {row['batch']}" for row in rows]
    series = {
        name: [float(row.get(name) or 0) / float(row[str(row["fastest rival"])] or 1) for row in rows]
        for name in ("ours", *RIVALS)
    }
    bars("forward", labels, series, "images/s, relative to the fastest rival", quick=quick)


@click.command()
@quick_option
@click.option("--only", multiple=True, help="Measure this network only; may be repeated.")
def main(*, quick: bool, only: tuple[str, ...]) -> None:
    """Measure all cells and print them. Write the file unless a cell failed."""
    for name in (environments.RUNTIMES, environments.OURS):
        environments.create(name)
    rows: list[Row] = []
    failed = []
    for job in QUICK if quick else JOBS:
        if only and job.model not in only:
            continue
        print(f"{job.model}, {job.threads} threads", flush=True)
        try:
            rows += map(compared, measured(job))
        except subprocess.CalledProcessError as error:
            failed.append(f"{job.model} with {job.threads} threads failed with exit code {error.returncode}")
    result = Result("forward", rows, list(targets(rows)), environments.versions(environments.OURS, "timm"))
    result.show()
    if failed:
        sys.exit("\n".join(failed))
    if not only:
        result.save(quick=quick)
        plot(rows, quick=quick)


if __name__ == "__main__":
    main()
