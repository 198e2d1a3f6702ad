"""Simulate routing and batching: `python -m bench.simulation check`, and then `python -m bench.simulation thousand`.

`check` compares the simulation with the service on this machine, in five minutes, and writes `docs/scale/check.json`
and the service times, which `thousand` reads. `thousand` writes `docs/scale/thousand.json` and plots; its figures are
the same on every machine. `python -m tools.tables` then writes the tables of `docs/scale.md`.
"""

from pathlib import Path

import click

from bench.result import QUICK, Result, quick_option
from bench.simulation import check as checks
from bench.simulation import plots, thousand
from tools.documents import DOCS

FOLDER = DOCS / "scale"


@click.group()
def main() -> None:
    """Run simulations of more workers than one machine has."""


def folder(*, quick: bool) -> Path:
    """Return where the figures are written."""
    return QUICK / "scale" if quick else FOLDER


@main.command()
@quick_option
@click.option("--seconds", default=12.0, show_default=True, help="Compare each load for this long.")
def check(*, quick: bool, seconds: float) -> None:
    """Compare the simulation with the service, with one and with two workers."""
    rows = []
    for setup in checks.SETUPS:
        utilisations = checks.UTILISATIONS[:1] if quick else checks.UTILISATIONS
        for row, times in checks.compare(setup, utilisations, 3.0 if quick else seconds):
            rows.append(row)
            print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
            if quick or (row["device"], row["workers"], row["utilisation"]) == checks.KEPT:
                checks.write_times(times, row, folder(quick=quick))
    result = Result("check", rows, command=f"python -m bench.simulation check --seconds {seconds:g}")
    result.save(folder(quick=quick))
    plots.check(rows, quick=quick)


@main.command(name="thousand")
@quick_option
def thousand_(*, quick: bool) -> None:
    """Run a thousand workers with every policy, with skewed load and with failures."""
    times = checks.read_times(FOLDER)
    scale = thousand.SHORT if quick else thousand.FULL
    rows = []
    for row in thousand.rows(times, scale):
        rows.append(row)
        print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    result = Result("thousand", rows, command="python -m bench.simulation thousand")
    result.save(folder(quick=quick))
    plots.thousand(rows, quick=quick)


if __name__ == "__main__":
    main()
