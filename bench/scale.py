"""Measure how the service scales on the CPU: `python -m bench.scale SWEEP…`, or all sweeps without a name.

A sweep writes `docs/benchmarks/scale-SWEEP.json` and a plot.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import click

from bench import sweeps
from bench.plots import Columns, plot
from bench.result import Result, Row, Target


@dataclass(frozen=True)
class Sweep:
    """One sweep: what it runs, what its plot shows, and what is asked of it."""

    rows: Callable[[float], Iterator[Row]]
    columns: Columns
    targets: Callable[[Sequence[Row]], list[Target]] = lambda _: []


def worst_threads(rows: Sequence[Row]) -> list[Target]:
    """Return how much throughput the worst number of threads keeps, for each model."""
    return [
        target(f"{model}: the worst number of threads keeps of the best one's throughput", rates(rows, model), 0.5)
        for model in dict.fromkeys(row["model"] for row in rows)
    ]


def rates(rows: Sequence[Row], model: object) -> float:
    """Return the lowest throughput of a model divided by the highest."""
    found = [float(row["req/s"] or 0) for row in rows if row["model"] == model]
    return min(found) / max(found)


def goodput(rows: Sequence[Row]) -> list[Target]:
    """Return the goodput at three times the saturating load, in parts of the best one."""
    best = max(float(row["req/s"] or 0) for row in rows)
    (overloaded,) = (float(row["req/s"] or 0) for row in rows if row["multiple"] == 3.0)
    return [target("Goodput at three times the saturating load, of the peak", overloaded / best, 0.9)]


def target(text: str, measured: float, least: float) -> Target:
    """Return a target for a ratio."""
    return Target(text, f"at least {least:.0%}", f"{measured:.0%}", met=measured >= least)


SWEEPS = {
    "threads": Sweep(sweeps.threads, Columns("threads", "req/s", "p99 ms", "model"), worst_threads),
    "clients": Sweep(sweeps.client_numbers, Columns("clients", "req/s", "p99 ms")),
    "sizes": Sweep(sweeps.sizes, Columns("megapixels", "req/s", "p99 ms")),
    "batches": Sweep(sweeps.batches, Columns("max_batch", "req/s", "p99 ms")),
    "frontends": Sweep(sweeps.frontend_numbers, Columns("frontends", "req/s", "p99 ms")),
    "models": Sweep(sweeps.model_numbers, Columns("models", "req/s", "p99 ms")),
    "overload": Sweep(sweeps.overload, Columns("multiple", "req/s", "429/s"), goodput),
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(SWEEPS)))
@click.option("--seconds", default=6.0, show_default=True, help="Measure each point for this long.")
def main(names: Sequence[str], seconds: float) -> None:
    """Run sweeps, print their rows, and write them and their plots."""
    for name in names or SWEEPS:
        sweep = SWEEPS[name]
        rows = list(sweep.rows(seconds))
        result = Result(f"scale-{name}", f"python -m bench.scale {name}", rows, sweep.targets(rows))
        result.show()
        plot(result.name, rows, sweep.columns)
        result.save()


if __name__ == "__main__":
    main()
