"""The training objective of a classifier: the labels of class folders and the predictions of a teacher.

Legend: V crops per image · N images · B batch · S side · K classes · F features of the teacher
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from examples.train import augment, crops
from examples.train.labelled_images import NO_CLASS, LabelledImages
from examples.train.precision import mixed
from examples.train.run import Recipe
from twins.checkpoints.checkpoint import Checkpoint
from twins.network.heads.classify import Classifier
from twins.network.variants import Family, Variant

SIZES = ((0.36, 56), (0.82, 84), (1.0, 112))  # (fraction of the epochs, side of a crop in pixels until then)
INPUT_SIDE = 112  # pixels; side of the crop that the served network gets
LAST_SIZE = ((1.0, INPUT_SIDE),)  # of a network that is trained already
LABEL_SMOOTHING = 0.1
TEACHER_WEIGHT = 0.5  # weight of the teacher's prediction in a target
DISTILLATION_TEMPERATURE = 2.0  # for the thousand classes of the teacher
CUTMIX_PROBABILITY = 0.5  # fraction of the batches that CutMix is applied to
WITHOUT_OBJECTS = 1 / 16  # fraction of images without an object, so that the network learns low confidence
OTHERS = 1 / 8  # fraction of images of other things, if there are any
IMAGENET = 1000
TEMPERATURES = np.geomspace(0.2, 5, 200)  # candidates for the calibration
TEMPERATURE_MARGIN = 1.1  # factor on the best temperature, since images without any of the classes score too high


class DistilledClassifier(Classifier):
    """A classifier with a second head that learns the classes of the teacher."""

    def __init__(self, variant: Variant, classes: int) -> None:
        super().__init__(variant, Family(), classes)
        self.imagenet = nn.Linear(variant.dims[-1], IMAGENET)  # only used during training
        self.apply(initialise)

    def both_logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of the classes and of the teacher's classes. x: B 3 S S."""
        pooled = self.pooled(x)
        return self.head(pooled), self.imagenet(pooled)


def start(network: DistilledClassifier, classifier: Checkpoint) -> None:
    """Load the weights of a classifier of the same classes; the head for the teacher's classes keeps its own."""
    own = {key: value for key, value in network.state_dict().items() if key.startswith("imagenet.")}
    network.load_state_dict(own | {key: value.float() for key, value in classifier.state.items()})


def initialise(module: nn.Module) -> None:
    """Initialise a linear layer with small weights, as is usual for vision transformers."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


@dataclass(frozen=True)
class Batch:
    """Crops and their targets."""

    x: Tensor  # B 3 S S, normalised
    targets: Tensor  # B K, probabilities
    imagenet: Tensor | None  # B 1000, probabilities; None without a teacher


@dataclass(frozen=True)
class TeacherTargets:
    """The features of the teacher for every crop, and the layers that turn them into targets."""

    features: NDArray[np.float16]  # V N F
    classes: nn.Linear  # features to the classes of the training set
    imagenet: nn.Linear  # features to the classes of the teacher


def teacher_targets(labelled: LabelledImages, folder: Path, count: int, seed: int) -> TeacherTargets:
    """Compute the teacher's features for `count` crops of each image. They are cached in the folder."""
    from examples.train import teacher  # imported here, since its packages are only needed with a teacher

    features = teacher.features(labelled, count, seed, folder)
    known = np.tile(labelled.targets, count)
    shown = torch.from_numpy(known != NO_CLASS)
    given = torch.from_numpy(features).flatten(0, 1)[shown]
    classes = teacher.probe(given, torch.from_numpy(known)[shown], len(labelled.classes))
    return TeacherTargets(features, classes, teacher.last_layer())


class Classification:
    """The objective of a classifier. Its targets come from the class folders and from the teacher, if there is one."""

    def __init__(  # noqa: PLR0913 - each is a part of the objective
        self,
        train: LabelledImages,
        test: LabelledImages,
        recipe: Recipe,
        teacher: TeacherTargets | None,
        sizes: Sequence[tuple[float, int]] = SIZES,
        *,
        test_side: int = INPUT_SIDE,
    ) -> None:
        self.train, self.test, self.recipe, self.teacher, self.sizes = train, test, recipe, teacher, sizes
        self.test_side = test_side  # pixels; of the crops of the test images
        self.steps = max(1, len(train) // recipe.batch)
        self.probabilities = probabilities(train.targets)

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of an epoch."""
        random = np.random.default_rng((self.recipe.seed, epoch))
        side = crops.side(self.sizes, epoch, self.recipe.epochs)
        for _ in range(self.steps):
            chosen = random.choice(len(self.train), min(self.recipe.batch, len(self.train)), p=self.probabilities)
            numbers = random.integers(len(self.teacher.features) if self.teacher else 2**31, size=len(chosen))
            yield self.batch(chosen, numbers, side, random)

    def batch(
        self, chosen: NDArray[np.int64], numbers: NDArray[np.int64], side: int, random: np.random.Generator
    ) -> Batch:
        """Return the crops with these numbers of the chosen images, augmented, and their targets."""
        generator = torch.Generator().manual_seed(int(random.integers(2**31)))
        images = [self.train.images[i] for i in chosen]
        boxes = [
            crops.jitter(crops.box(image.size, int(i), int(number), self.recipe.seed), image.size, random)
            for image, i, number in zip(images, chosen, numbers, strict=True)
        ]
        x = augment.normalise(torch.from_numpy(crops.stack(images, boxes, side)))
        x = augment.flip(augment.recolour(x, generator), generator)
        targets = self.targets(chosen, numbers)
        if torch.rand(1, generator=generator).item() < CUTMIX_PROBABILITY:
            x, targets = augment.cutmix(x, targets, generator)
        x, targets = augment.remove_objects(x, targets, generator, round(WITHOUT_OBJECTS * len(x)))
        return Batch(x, targets[0], targets[1] if len(targets) > 1 else None)

    def targets(self, chosen: NDArray[np.int64], numbers: NDArray[np.int64]) -> tuple[Tensor, ...]:
        """Return the targets: B K, and with a teacher also B 1000."""
        classes = len(self.train.classes)
        known = torch.from_numpy(self.train.targets[chosen])
        shown = (known != NO_CLASS)[:, None]
        labels = F.one_hot(known.clamp(min=0), classes).float() * (1 - LABEL_SMOOTHING) * shown
        labels = labels + (1 - labels.sum(dim=1, keepdim=True)) / classes
        if self.teacher is None:
            return (labels,)
        features = torch.from_numpy(self.teacher.features[numbers, chosen]).float()
        predicted = self.teacher.classes(features).softmax(1)
        imagenet = (self.teacher.imagenet(features) / DISTILLATION_TEMPERATURE).softmax(1)
        return torch.where(shown, labels.lerp(predicted, TEACHER_WEIGHT), labels), imagenet

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Return the sum of the cross-entropies with both targets."""
        assert isinstance(network, DistilledClassifier)
        logits, imagenet = mixed(network.both_logits, batch.x)
        loss = F.cross_entropy(logits, batch.targets)
        if batch.imagenet is None:
            return loss
        return loss + DISTILLATION_TEMPERATURE * F.cross_entropy(imagenet / DISTILLATION_TEMPERATURE, batch.imagenet)

    def measure(self, network: nn.Module) -> float:
        """Return the top-1 accuracy on the test images."""
        return float((self.logits(network).argmax(1).numpy() == self.test.targets).mean())

    @torch.inference_mode()
    def logits(self, network: nn.Module) -> Tensor:
        """Return the logits N K of the test images, cropped as in the service."""
        found = []
        device = next(network.parameters()).device
        for start in range(0, len(self.test), 128):
            images = self.test.images[start : start + 128]
            boxes = [crops.centre(image.size) for image in images]
            x = augment.normalise(torch.from_numpy(crops.stack(images, boxes, self.test_side)))
            found.append(network(x.to(device)).cpu())
        return torch.cat(found)

    def calibrate(self, network: nn.Module) -> None:
        """Scale the last layer by the temperature with the lowest loss on the test images, plus a margin.

        Source: "On Calibration of Modern Neural Networks" (arXiv 1706.04599), section 4.2.
        """
        assert isinstance(network, DistilledClassifier)
        logits, targets = self.logits(network), torch.from_numpy(self.test.targets)
        losses = [F.cross_entropy(logits / temperature, targets).item() for temperature in TEMPERATURES]
        temperature = TEMPERATURE_MARGIN * TEMPERATURES[int(np.argmin(losses))]
        for parameter in network.head.parameters():
            parameter.data.div_(temperature)


def probabilities(targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how often each image is drawn. Rare classes are drawn more often, but not as often as the others."""
    shown = targets != NO_CLASS
    weights = np.zeros(len(targets))
    weights[shown] = (1 / np.sqrt(np.maximum(1, np.bincount(targets[shown]))))[targets[shown]]
    weights /= weights.sum()
    if not shown.all():
        weights[~shown] = OTHERS / (1 - OTHERS) / np.count_nonzero(~shown)
    return weights / weights.sum()
