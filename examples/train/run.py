"""One training run: steps over batches, an averaged copy of the weights, a log, and a folder to go on from.

Knows nothing of tasks: a `Lesson` gives batches and losses.
"""

import copy
import csv
import math
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from rich.progress import Progress
from torch import Tensor, nn

STATE, LOG = "state.pt", "log.csv"


@dataclass(frozen=True)
class Recipe:
    """What a run consists of, but for its data."""

    epochs: int
    batch: int
    rate: float  # the highest learning rate, AdamW
    warmup: float = 0.06  # the share of all steps in which the rate rises; then it falls along a cosine to nothing
    decay: float = 0.05  # of matrices; vectors do not decay
    averaging: float = 0.999  # of the weights, from step to step; less in the first steps
    clip: float = 1.0  # the gradients' norm
    seed: int = 0


@dataclass(frozen=True)
class Entry:
    """An epoch in the log."""

    epoch: int
    loss: float  # mean of its steps
    rate: float
    seconds: float
    figure: float | None  # what the lesson measures: 0 to 1; None in epochs in which it does not


class Batch(Protocol):
    """Anything; only its lesson looks inside."""


B = TypeVar("B")


class Lesson(Protocol[B]):
    """What is learnt."""

    steps: int  # in an epoch

    def batches(self, epoch: int) -> Iterator[B]:
        """The batches of an epoch, the same ones whenever it is asked for."""

    def loss(self, network: nn.Module, batch: B) -> Tensor:
        """One number, with its gradient's way back."""

    def measure(self, network: nn.Module) -> float:
        """How good the network is on photos it does not learn from, 0 to 1."""


class Run:
    """A run in a folder. A second one there goes on after the last whole epoch of the first."""

    def __init__(self, network: nn.Module, recipe: Recipe, folder: Path) -> None:
        self.network, self.recipe, self.folder = network, recipe, folder
        self.average = copy.deepcopy(network).requires_grad_(requires_grad=False).eval()
        self.optimiser = torch.optim.AdamW(groups(network, recipe.decay), lr=recipe.rate, fused=True)
        self.log: list[Entry] = []
        self.step = 0
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / STATE).exists():
            self.resume()

    def train(self, lesson: "Lesson[B]", *, measure_every: int = 5) -> nn.Module:
        """The averaged network after all epochs, in eval mode."""
        total = self.recipe.epochs * lesson.steps
        with Progress() as progress:
            bar = progress.add_task("training", total=total, completed=len(self.log) * lesson.steps)
            for epoch in range(len(self.log), self.recipe.epochs):
                start, losses = time.monotonic(), []
                for batch in prefetched(lesson.batches(epoch)):
                    losses.append(self.learn(lesson.loss(self.network, batch), total))
                    progress.update(bar, advance=1, description=f"epoch {epoch + 1}, loss {losses[-1]:.3f}")
                seconds = time.monotonic() - start
                due = (epoch + 1) % measure_every == 0 or epoch + 1 == self.recipe.epochs
                figure = lesson.measure(self.average) if due else None
                self.note(Entry(epoch + 1, sum(losses) / len(losses), self.rate(total), seconds, figure))
        return self.average

    def learn(self, loss: Tensor, total: int) -> float:
        """One step down the loss; its value."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(total)
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        self.optimiser.step()
        self.step += 1
        keep = min(self.recipe.averaging, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, new in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
                mean.lerp_(new, 1 - keep) if mean.is_floating_point() else mean.copy_(new)
        return loss.item()

    def rate(self, total: int) -> float:
        """The learning rate of the next step of `total`."""
        warmup = max(1, round(self.recipe.warmup * total))
        if self.step < warmup:
            return self.recipe.rate * (self.step + 1) / warmup
        return self.recipe.rate * 0.5 * (1 + math.cos(math.pi * (self.step - warmup) / max(1, total - warmup)))

    def note(self, entry: Entry) -> None:
        """Writes an epoch down, with all that the next one needs."""
        self.log.append(entry)
        with (self.folder / LOG).open("w", newline="") as file:
            writer = csv.DictWriter(file, list(asdict(entry)))
            writer.writeheader()
            writer.writerows(asdict(each) for each in self.log)
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "log": [asdict(each) for each in self.log],
            "step": self.step,
        }
        torch.save(state, self.folder / f"{STATE}.new")
        (self.folder / f"{STATE}.new").replace(self.folder / STATE)

    def resume(self) -> None:
        """Takes up what the last whole epoch left."""
        state = torch.load(self.folder / STATE, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.log, self.step = [Entry(**each) for each in state["log"]], state["step"]


def groups(network: nn.Module, decay: float) -> list[dict[str, object]]:
    """The parameters for the optimiser: only matrices and kernels decay."""
    parameters = [each for each in network.parameters() if each.requires_grad]
    return [
        {"params": [each for each in parameters if each.ndim > 1], "weight_decay": decay},
        {"params": [each for each in parameters if each.ndim <= 1], "weight_decay": 0.0},
    ]


def prefetched(batches: Iterable[B]) -> Iterator[B]:
    """The same batches, the next one made while one is at work."""
    iterator = iter(batches)
    torch.set_num_threads(torch.get_num_threads())  # of this thread, or it would take over what the other one is given
    with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as thread:
        ahead = thread.submit(next, iterator, None)
        while (batch := ahead.result()) is not None:
            ahead = thread.submit(next, iterator, None)
            yield batch
