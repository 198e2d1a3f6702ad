"""Draw the latencies of a run."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from service.load.report import Report, Requests

TAIL = np.concatenate([np.linspace(0, 90, 91), 100 - np.geomspace(10, 0.01, 60)])  # percent


def draw(requests: Requests, report: Report, path: Path) -> None:
    """Write a plot whose format is that of the file's suffix: latency over time, and latency by percentile."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    over_time, by_percentile = figure.subplots(1, 2)
    good = requests.succeeded
    over_time.plot(requests.due_s[good], requests.latency_s[good] * 1000, ".", markersize=2, label="succeeded")
    if not good.all():
        over_time.plot(requests.due_s[~good], requests.latency_s[~good] * 1000, "x", markersize=4, label="failed")
        over_time.legend()
    over_time.set(xlabel="seconds", ylabel="latency in ms", ylim=(0, None), title=f"{report.throughput:.1f} requests/s")
    if good.any():
        by_percentile.plot(1 / (1 - TAIL / 100), np.percentile(requests.latency_s[good], TAIL) * 1000)
    by_percentile.set(xscale="log", xlabel="percentile", ylabel="latency in ms", ylim=(0, None), title=report.schedule)
    by_percentile.set_xticks([1, 2, 10, 100, 1000], ["0", "50", "90", "99", "99.9"])
    for axes in (over_time, by_percentile):
        axes.grid(alpha=0.3)
    figure.savefig(path)
