"""An image of a run's log."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from examples.train.run import Entry


def draw(log: Sequence[Entry], measured_is: str, path: Path) -> None:
    """The loss of every epoch, and what was measured in some."""
    figure = Figure(figsize=(8, 4), layout="tight")
    losses = figure.subplots()
    losses.plot([each.epoch for each in log], [each.loss for each in log], color="tab:blue")
    losses.set_xlabel("epoch")
    losses.set_ylabel("training loss", color="tab:blue")
    measured = [(each.epoch, each.figure) for each in log if each.figure is not None]
    figures = losses.twinx()
    figures.plot([epoch for epoch, _ in measured], [figure for _, figure in measured], "o-", color="tab:orange")
    figures.set_ylabel(measured_is, color="tab:orange")
    figure.savefig(path, dpi=100)
