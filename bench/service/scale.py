"""Measure how the service scales on the CPU: `python -m bench.service.scale SWEEP…`, or all sweeps without a name.

A sweep writes `docs/benchmarks/scale-SWEEP.json` and a plot.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import click

from bench.plots import Columns, plot
from bench.result import Result, Row, Target, quick_option
from bench.service import sweeps

REFUSED_MS = 100.0
OVERLAY_MEGAPIXELS, OVERLAY_MS = 12, 600.0


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


def overload_targets(rows: Sequence[Row]) -> list[Target]:
    """Return the goodput at three times the saturating load, in parts of the best one, and how the rest is refused."""
    best = max(float(row[key] or 0) for row in rows for key in ("req/s", "peak/s"))
    (overloaded,) = (row for row in rows if row["multiple"] == 3.0)
    refused_ms, others = float(overloaded["429 p99 ms"] or 0), overloaded["failed"]
    return [
        target("Goodput at three times the saturating load, of the peak", float(overloaded["req/s"] or 0) / best, 0.9),
        Target(
            "Refusals at three times the saturating load: p99, and failures other than 429",
            f"at most {REFUSED_MS:.0f} ms, none",
            f"{refused_ms:.0f} ms, {others}",
            met=refused_ms <= REFUSED_MS and not others,
        ),
    ]


def overlay_targets(rows: Sequence[Row]) -> list[Target]:
    """Return how long an overlay of 12 megapixels takes."""
    (large,) = (row for row in rows if row["megapixels"] == OVERLAY_MEGAPIXELS)
    took_ms = float(large["p50 ms"] or 0)
    text = f"An overlay of {OVERLAY_MEGAPIXELS} megapixels as a PNG, p50 of one client"
    return [Target(text, f"under {OVERLAY_MS:.0f} ms", f"{took_ms:.0f} ms", met=0 < took_ms < OVERLAY_MS)]


def target(text: str, measured: float, least: float) -> Target:
    """Return a target for a ratio."""
    return Target(text, f"at least {least:.0%}", f"{measured:.0%}", met=measured >= least)


SWEEPS = {
    "threads": Sweep(sweeps.threads, Columns("threads", "req/s", "p99 ms", "model"), worst_threads),
    "clients": Sweep(sweeps.client_numbers, Columns("clients", "req/s", "p99 ms")),
    "sizes": Sweep(sweeps.sizes, Columns("megapixels", "req/s", "p99 ms")),
    "overlays": Sweep(sweeps.overlays, Columns("megapixels", "p50 ms", "req/s"), overlay_targets),
    "batches": Sweep(sweeps.batches, Columns("max_batch", "req/s", "p99 ms")),
    "frontends": Sweep(sweeps.frontend_numbers, Columns("frontends", "req/s", "p99 ms")),
    "models": Sweep(sweeps.model_numbers, Columns("models", "req/s", "p99 ms")),
    "overload": Sweep(sweeps.overload, Columns("multiple", "req/s", "429/s"), overload_targets),
}

QUICK = ("threads", "overlays", "overload")
"""The sweeps of a short run: those with a target."""


@click.command()
@quick_option
@click.argument("names", nargs=-1, type=click.Choice(list(SWEEPS)))
@click.option("--seconds", default=4.0, show_default=True, help="Measure each point for this long.")
def main(*, names: Sequence[str], seconds: float, quick: bool) -> None:
    """Run sweeps, print their rows, and write them and their plots."""
    for name in names or (QUICK if quick else SWEEPS):
        sweep = SWEEPS[name]
        rows = list(sweep.rows(1.0 if quick else seconds))
        again = f"python -m bench.service.scale {name} --seconds {seconds:g}"
        result = Result(f"scale-{name}", rows, sweep.targets(rows), command=again)
        result.show()
        plot(result.name, rows, sweep.columns, quick=quick)
        result.save(quick=quick)


if __name__ == "__main__":
    main()
