"""What a classifier learns from a folder of class folders, and from a teacher.

Legend: V views · N photos · B batch · S side · K classes · F the teacher's features
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from examples.train import augment, views
from examples.train.photos import Photos
from examples.train.precision import mixed
from examples.train.run import Recipe
from twins.network.heads.classify import Classifier
from twins.network.variants import Family, Variant

SIZES = ((0.36, 56), (0.82, 84), (1.0, 112))  # up to which share of the epochs a view has which side, in pixels
SERVED = 112  # pixels, of the crop that the served network is given
CROP = 0.9  # of the short side
SMOOTHING = 0.1  # of the labels
TRUST = 0.5  # the teacher's share in a target
SOFTNESS = 2.0  # the temperature at which the teacher's thousand classes are learnt
MIXED = 0.5  # the share of batches in which images are cut into each other
NOTHING = 1 / 16  # the share of images that show no thing, so that the network knows doubt
IMAGENET = 1000
TEMPERATURES = np.geomspace(0.2, 5, 200)  # tried for the scores
CAUTION = 1.1  # above the best temperature: photos of other things, which are not among the test photos, score too high


class Student(Classifier):
    """A classifier that also learns to answer as the teacher does."""

    def __init__(self, variant: Variant, classes: int) -> None:
        super().__init__(variant, Family(), classes)
        self.imagenet = nn.Linear(variant.dims[3], IMAGENET)  # dropped when the run is over
        self.apply(initialise)

    def answers(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x: B 3 S S; logits of our classes and of the teacher's."""
        pooled = self.pooled(x)
        return self.head(pooled), self.imagenet(pooled)


def initialise(module: nn.Module) -> None:
    """Small linear layers to begin with, as vision transformers need them."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


@dataclass(frozen=True)
class Batch:
    """Views and what is to be answered."""

    x: Tensor  # B 3 S S, normalised
    targets: Tensor  # B K, shares
    imagenet: Tensor | None  # B 1000, shares; None without a teacher


@dataclass(frozen=True)
class Advice:
    """What the teacher thinks of every view."""

    features: NDArray[np.float16]  # V N F
    ours: nn.Linear
    imagenet: nn.Linear


def ask(photos: Photos, folder: Path, count: int, seed: int) -> Advice:
    """What the teacher thinks of `count` views of each photo; kept in the folder."""
    from examples.train import teacher  # late: its packages are only needed here

    features = teacher.features(photos, count, seed, folder)
    targets = torch.from_numpy(np.tile(photos.targets, count))
    ours = teacher.probe(torch.from_numpy(features).flatten(0, 1), targets, len(photos.classes))
    return Advice(features, ours, teacher.last())


class Classification:
    """A run's lesson: what the photos show, by their folders and by the teacher."""

    def __init__(self, train: Photos, test: Photos, recipe: Recipe, advice: Advice | None) -> None:
        self.train, self.test, self.recipe, self.advice = train, test, recipe, advice
        self.steps = max(1, len(train) // recipe.batch)
        counts = np.bincount(train.targets)
        weights = (1 / np.sqrt(counts))[train.targets]  # rare classes come more often, not as often as the others
        self.chances = weights / weights.sum()

    def batches(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch."""
        random = np.random.default_rng((self.recipe.seed, epoch))
        side = views.side(SIZES, epoch, self.recipe.epochs)
        for _ in range(self.steps):
            chosen = random.choice(len(self.train), min(self.recipe.batch, len(self.train)), p=self.chances)
            numbers = random.integers(len(self.advice.features) if self.advice else 2**31, size=len(chosen))
            yield self.batch(chosen, numbers, side, random)

    def batch(
        self, chosen: NDArray[np.int64], numbers: NDArray[np.int64], side: int, random: np.random.Generator
    ) -> Batch:
        """The views of these numbers of the chosen photos."""
        dice = torch.Generator().manual_seed(int(random.integers(2**31)))
        images = [self.train.images[i] for i in chosen]
        boxes = [
            views.shaken(views.box(image.size, int(i), int(number), self.recipe.seed), image.size, random)
            for image, i, number in zip(images, chosen, numbers, strict=True)
        ]
        x = augment.normalise(torch.from_numpy(views.stack(images, boxes, side)))
        x = augment.flip(augment.recolour(x, dice), dice)
        targets = self.targets(chosen, numbers)
        if torch.rand(1, generator=dice).item() < MIXED:
            x, targets = augment.cutmix(x, targets, dice)
        x, targets = augment.nothing(x, targets, dice, round(NOTHING * len(x)))
        return Batch(x, targets[0], targets[1] if len(targets) > 1 else None)

    def targets(self, chosen: NDArray[np.int64], numbers: NDArray[np.int64]) -> tuple[Tensor, ...]:
        """What is to be answered: B K, and with a teacher B 1000."""
        classes = len(self.train.classes)
        labels = F.one_hot(torch.from_numpy(self.train.targets[chosen]), classes).float()
        labels = labels * (1 - SMOOTHING) + SMOOTHING / classes
        if self.advice is None:
            return (labels,)
        features = torch.from_numpy(self.advice.features[numbers, chosen]).float()
        ours = self.advice.ours(features).softmax(1)
        return labels.lerp(ours, TRUST), (self.advice.imagenet(features) / SOFTNESS).softmax(1)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Cross-entropy to both targets."""
        assert isinstance(network, Student)
        ours, imagenet = mixed(network.answers, batch.x)
        loss = F.cross_entropy(ours, batch.targets)
        if batch.imagenet is None:
            return loss
        return loss + SOFTNESS * F.cross_entropy(imagenet / SOFTNESS, batch.imagenet)

    def measure(self, network: nn.Module) -> float:
        """The share of test photos whose best class is right."""
        return float((self.logits(network).argmax(1).numpy() == self.test.targets).mean())

    @torch.inference_mode()
    def logits(self, network: nn.Module) -> Tensor:
        """The test photos' logits, N K, from what the served network sees of them."""
        found = []
        for start in range(0, len(self.test), 128):
            images = self.test.images[start : start + 128]
            boxes = [middle(image.size) for image in images]
            found.append(network(augment.normalise(torch.from_numpy(views.stack(images, boxes, SERVED)))))
        return torch.cat(found)

    def calibrate(self, network: nn.Module) -> None:
        """Divides the logits by a little more than the temperature at which the test photos' classes are likeliest.

        Source: "On Calibration of Modern Neural Networks" (arXiv 1706.04599), section 4.2.
        """
        assert isinstance(network, Student)
        logits, targets = self.logits(network), torch.from_numpy(self.test.targets)
        losses = [F.cross_entropy(logits / temperature, targets).item() for temperature in TEMPERATURES]
        temperature = CAUTION * TEMPERATURES[int(np.argmin(losses))]
        for parameter in network.head.parameters():
            parameter.data.div_(temperature)


def middle(size: tuple[int, int]) -> views.Box:
    """The box that a served network sees of an image of this (width, height)."""
    side = min(size) * CROP
    left, top = (size[0] - side) / 2, (size[1] - side) / 2
    return (left, top, left + side, top + side)
