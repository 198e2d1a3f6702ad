"""Plots of the simulations, as SVG files that change only with the figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.result import QUICK, Row
from tools.documents import DOCS

PLOTS = DOCS / "images" / "scale"
FIGURES = ("mean", "p50", "p95", "p99")


def figure(name: str, **options: Any) -> tuple[Any, Any]:
    """Return a new figure and its axes."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = name
    from matplotlib import pyplot as plt

    return plt.subplots(layout="constrained", **options)


def save(drawn: Any, name: str, *, quick: bool) -> Path:
    """Write a figure and return its path."""
    from matplotlib import pyplot as plt

    folder = QUICK / "scale" if quick else PLOTS
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.svg"
    drawn.savefig(path, metadata={"Date": None})
    plt.close(drawn)
    return path


def check(rows: Sequence[Row], *, quick: bool) -> Path:
    """Draw the delays of the simulation against those of the service."""
    drawn, axes = figure("check", figsize=(8.4, 4.2), ncols=2, sharex=True, sharey=True)
    for axis, kind in zip(axes, ("predicted", "replayed"), strict=True):
        for name in FIGURES:
            measured = [max(0.1, float(row[f"{name}, measured"] or 0)) for row in rows]
            found = [max(0.1, float(row[f"{name}, {kind}"] or 0)) for row in rows]
            axis.loglog(measured, found, "o", label=name, alpha=0.8)
        low, high = 0.1, max(axis.get_xlim()[1], axis.get_ylim()[1])
        axis.loglog([low, high], [low, high], color="black", linewidth=0.8)
        axis.set(title=kind, xlabel="wait in the service, ms", ylabel="wait in the simulation, ms")
    axes[0].legend(fontsize="small")
    return save(drawn, "check", quick=quick)


def thousand(rows: Sequence[Row], *, quick: bool) -> list[Path]:
    """Draw the sweep of the utilisation, and the time lines of the failures."""
    drawn, axes = figure("sweep", figsize=(9.6, 4.2), ncols=2)
    swept = [row for row in rows if row["table"] == "sweep"]
    for axis, name in zip(axes, ("mean ms", "p99 ms"), strict=True):
        for policy in dict.fromkeys(str(row["policy"]) for row in swept):
            chosen = [row for row in swept if row["policy"] == policy]
            axis.semilogy([row["utilisation"] for row in chosen], [row[name] for row in chosen], "o-", label=policy)
        axis.set(xlabel="utilisation", ylabel=f"wait for a device, {name}")
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize="small")
    paths = [save(drawn, "sweep", quick=quick)]
    drawn, axis = figure("failures", figsize=(7.2, 3.8))
    lines = [row for row in rows if row["table"] == "time line"]
    for fails in dict.fromkeys(str(row["fails"]) for row in lines):
        chosen = [row for row in lines if row["fails"] == fails]
        axis.semilogy([row["after_s"] for row in chosen], [row["p99 ms"] for row in chosen], label=fails)
    axis.set(xlabel="seconds after the failure", ylabel="wait for a device, p99 ms")
    axis.legend(fontsize="small", title="what fails", loc="upper right")
    return [*paths, save(drawn, "failures", quick=quick)]
