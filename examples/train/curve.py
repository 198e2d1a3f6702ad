"""Plot the log of a run."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from examples.train.run import Entry


def draw(log: Sequence[Entry], score_name: str, path: Path) -> None:
    """Plot the training loss of all epochs and the scores of the measured epochs."""
    figure = Figure(figsize=(8, 4), layout="tight")
    losses = figure.subplots()
    losses.plot([each.epoch for each in log], [each.loss for each in log], color="tab:blue")
    losses.set_xlabel("epoch")
    losses.set_ylabel("training loss", color="tab:blue")
    measured = [(each.epoch, each.figure) for each in log if each.figure is not None]
    scores = losses.twinx()
    scores.plot([epoch for epoch, _ in measured], [score for _, score in measured], "o-", color="tab:orange")
    scores.set_ylabel(score_name, color="tab:orange")
    figure.savefig(path, dpi=100)
