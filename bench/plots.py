"""Plots of the rows of a benchmark, as SVG files that change only with the figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.result import PLOTS, QUICK, Row

COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd")


@dataclass(frozen=True)
class Columns:
    """The columns that a plot shows."""

    x: str
    left: str
    right: str
    group: str = ""  # a pair of lines is drawn for each of its values


def plot(name: str, rows: Sequence[Row], columns: Columns, *, quick: bool) -> Path:
    """Draw two columns against a third, and return the path of the file."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = name
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    other = axis.twinx()
    for index, value in enumerate(dict.fromkeys(row.get(columns.group) for row in rows)):
        chosen = [row for row in rows if row.get(columns.group) == value]
        positions = [str(row[columns.x]) for row in chosen]
        colour, label = COLOURS[index % len(COLOURS)], f" ({value})" if value is not None else ""
        axis.plot(positions, [row[columns.left] for row in chosen], "o-", color=colour, label=columns.left + label)
        other.plot(positions, [row[columns.right] for row in chosen], "x:", color=colour, label=columns.right + label)
    axis.set(xlabel=columns.x, ylabel=columns.left, ylim=(0, None))
    other.set(ylabel=columns.right, ylim=(0, None))
    lines = [line for each in (axis, other) for line in each.get_lines()]
    axis.legend(lines, [str(line.get_label()) for line in lines], loc="lower right", fontsize="small")
    path = file(name, quick=quick)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path


def curves(
    name: str, series: Mapping[str, Sequence[tuple[float, float]]], labels: tuple[str, str], *, quick: bool
) -> Path:
    """Draw lines on logarithmic axes, and return the path of the file. `labels`: of both axes."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = name
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    for label, points in series.items():
        axis.loglog(*zip(*points, strict=True), "o-", label=label)
    axis.set(xlabel=labels[0], ylabel=labels[1])
    axis.legend(fontsize="small")
    path = file(name, quick=quick)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path


def bars(
    name: str, labels: Sequence[str], series: Mapping[str, Sequence[float]], quantity: str, *, quick: bool
) -> Path:
    """Draw a group of bars for each label, one of each series, and return the path of the file."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = name
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(max(6.4, 0.6 * len(labels)), 3.6), layout="constrained")
    width = 0.85 / len(series)
    colours = mpl.colormaps["tab10"]
    for index, (label, values) in enumerate(series.items()):
        positions = [position + (index + 0.5) * width - 0.425 for position in range(len(labels))]
        axis.bar(positions, values, width, label=label, color=colours(index % 10))
    axis.axhline(1, color="black", linewidth=0.8)
    axis.set_xticks(range(len(labels)), labels, rotation=30, ha="right", fontsize="small")
    axis.set_ylabel(quantity)
    axis.legend(fontsize="x-small", ncols=2)
    path = file(name, quick=quick)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path


def file(name: str, *, quick: bool) -> Path:
    """Return the path of a plot, whose folder exists."""
    folder = QUICK if quick else PLOTS
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.svg"
