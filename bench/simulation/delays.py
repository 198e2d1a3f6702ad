"""Queueing delays as figures, and how far two sets of them are apart."""

from collections.abc import Mapping, Sequence

import numpy as np

PERCENTILES = {"p50": 50.0, "p95": 95.0, "p99": 99.0}
STUDENT_T = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""By the number of runs: half of the width of a 95 % interval, in standard errors."""


def figures(seconds: Sequence[float]) -> dict[str, float]:
    """Return the mean and the percentiles of some times, in milliseconds."""
    found = np.asarray(seconds)
    if not len(found):
        return dict.fromkeys(("mean", *PERCENTILES), 0.0)
    percentiles = np.percentile(found, list(PERCENTILES.values()))
    return {
        "mean": float(found.mean()) * 1000,
        **{name: float(value) * 1000 for name, value in zip(PERCENTILES, percentiles, strict=True)},
    }


def mean_figures(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each figure over some runs."""
    return {name: float(np.mean([run[name] for run in runs])) for name in runs[0]}


def half_width(values: Sequence[float]) -> float:
    """Return half of the width of the 95 % interval of the mean of a few independent values."""
    if len(values) < 2:
        return float("nan")
    return STUDENT_T[len(values)] * float(np.std(values, ddof=1)) / len(values) ** 0.5


def relative(simulated: float, measured: float) -> float:
    """Return the error of a simulated figure, as a part of the measured one."""
    return (simulated - measured) / measured if measured else 0.0
