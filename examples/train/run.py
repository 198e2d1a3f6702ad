"""One training run: optimiser steps, averaged weights, a log, and a folder from which the run can resume.

This module does not know tasks. An `Objective` provides batches and losses.
"""

import copy
import csv
import math
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import Progress
from torch import Tensor, nn

STATE, LOG = "state.pt", "log.csv"


@dataclass(frozen=True)
class Recipe:
    """The hyperparameters of a run."""

    epochs: int
    batch: int
    rate: float  # the peak learning rate of AdamW
    warmup: float = 0.06  # fraction of the steps in which the rate rises; then it decays to 0 along a cosine
    decay: float = 0.05  # weight decay of matrices; vectors have none
    averaging: float = 0.999  # decay of the moving average of the weights; lower in the first steps
    clip: float = 1.0  # maximum norm of the gradients
    seed: int = 0


@dataclass(frozen=True)
class Entry:
    """One epoch in the log."""

    epoch: int
    loss: float  # mean over the steps
    rate: float
    seconds: float
    figure: float | None  # the score on the test images, from 0 to 1; None if it was not measured in this epoch


class Batch(Protocol):
    """A batch of any type, which only its objective uses."""


B = TypeVar("B")


class Objective(Protocol[B]):
    """The data and the loss of a run."""

    steps: int  # per epoch

    def batches(self, epoch: int) -> Iterator[B]:
        """Yield the batches of an epoch. Every call for the same epoch yields the same batches."""

    def loss(self, network: nn.Module, batch: B) -> Tensor:
        """Return the loss of a batch as a scalar with gradients."""

    def measure(self, network: nn.Module) -> float:
        """Return the score of the network on the test images, from 0 to 1."""


class Run:
    """A run with its folder. A second run in the same folder resumes after the last complete epoch of the first."""

    def __init__(self, network: nn.Module, recipe: Recipe, folder: Path, device: str = "cpu") -> None:
        self.network, self.recipe, self.folder, self.device = network.to(device), recipe, folder, device
        self.average = copy.deepcopy(network).requires_grad_(requires_grad=False).eval()
        self.optimiser = torch.optim.AdamW(groups(network, recipe.decay), lr=recipe.rate, fused=True)
        self.log: list[Entry] = []
        self.step = 0
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / STATE).exists():
            self.resume()

    def train(self, objective: "Objective[B]", *, measure_every: int = 5) -> nn.Module:
        """Train for all epochs. Return the averaged network in eval mode."""
        total = self.recipe.epochs * objective.steps
        with Progress() as progress:
            bar = progress.add_task("training", total=total, completed=len(self.log) * objective.steps)
            for epoch in range(len(self.log), self.recipe.epochs):
                start, losses = time.monotonic(), []
                for batch in prefetched(objective.batches(epoch)):
                    loss = objective.loss(self.network, on_device(batch, self.device))
                    losses.append(self.optimise(loss, total))
                    progress.update(bar, advance=1, description=f"epoch {epoch + 1}, loss {losses[-1]:.3f}")
                seconds = time.monotonic() - start
                due = (epoch + 1) % measure_every == 0 or epoch + 1 == self.recipe.epochs
                figure = objective.measure(self.average) if due else None
                self.save(Entry(epoch + 1, sum(losses) / len(losses), self.rate(total), seconds, figure))
        return self.average

    def optimise(self, loss: Tensor, total: int) -> float:
        """Take one optimiser step. Return the value of the loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(total)
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        self.optimiser.step()
        self.step += 1
        decay = min(self.recipe.averaging, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, new in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
                mean.lerp_(new, 1 - decay) if mean.is_floating_point() else mean.copy_(new)
        return loss.item()

    def rate(self, total: int) -> float:
        """Return the learning rate of the next step. `total` is the number of steps of the run."""
        warmup = max(1, round(self.recipe.warmup * total))
        if self.step < warmup:
            return self.recipe.rate * (self.step + 1) / warmup
        return self.recipe.rate * 0.5 * (1 + math.cos(math.pi * (self.step - warmup) / max(1, total - warmup)))

    def save(self, entry: Entry) -> None:
        """Save the log and the state after an epoch."""
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
        """Load the state after the last complete epoch."""
        state = torch.load(self.folder / STATE, weights_only=True, map_location=self.device)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.log, self.step = [Entry(**each) for each in state["log"]], state["step"]


def groups(network: nn.Module, decay: float) -> list[dict[str, object]]:
    """Return the parameter groups of the optimiser. Only matrices and kernels have weight decay."""
    parameters = [each for each in network.parameters() if each.requires_grad]
    return [
        {"params": [each for each in parameters if each.ndim > 1], "weight_decay": decay},
        {"params": [each for each in parameters if each.ndim <= 1], "weight_decay": 0.0},
    ]


def shuffled(count: int, recipe: Recipe, epoch: int) -> Iterator[tuple[NDArray[np.int64], np.random.Generator]]:
    """Yield the numbers of the images in each batch of an epoch, no image twice, and a source of random numbers."""
    random = np.random.default_rng((recipe.seed, epoch))
    order = random.permutation(count)
    for start in range(0, max(1, count // recipe.batch) * recipe.batch, recipe.batch):
        yield order[start : start + recipe.batch], random


def on_device(value: Any, device: str) -> Any:
    """Return a value with all tensors in its dataclasses and tuples on a device."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, tuple):
        return tuple(on_device(each, device) for each in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{each.name: on_device(getattr(value, each.name), device) for each in fields(value)})
    return value


def prefetched(batches: Iterable[B]) -> Iterator[B]:
    """Yield the same batches. Each batch is prepared while the previous one is used."""
    iterator = iter(batches)
    torch.set_num_threads(
        torch.get_num_threads()
    )  # pins the number for this thread; otherwise the setting of the new thread would apply here as well
    with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as thread:
        upcoming = thread.submit(next, iterator, None)
        while (batch := upcoming.result()) is not None:
            upcoming = thread.submit(next, iterator, None)
            yield batch
