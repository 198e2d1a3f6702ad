"""The training objective of a backbone without labels: the feature maps of a teacher, at every position.

Legend: B batch · S side of a crop · C channels · H W map · K classes of ImageNet
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional as F

from examples.train import augment, classify, crops, labelled_images, segment
from examples.train.precision import mixed
from examples.train.run import Recipe, shuffled
from examples.train.teacher import CHANNELS, Teacher
from twins.checkpoints.checkpoint import Checkpoint
from twins.errors import DatasetError
from twins.evaluation import datasets
from twins.images.decode import DecodedImage
from twins.network.heads.classify import Classifier
from twins.network.variants import Family, Variant

SIZES = ((0.6, 128), (1.0, 160))  # (fraction of the epochs, side of a crop in pixels until then)
AREA = (0.15, 1.0)  # fraction of the image that a crop covers
IMAGE_SIDE = 240  # pixels; larger images are reduced to this short side
IMAGENET = 1000
TEMPERATURE = 2.0  # of the predictions of both networks
MAPS_WEIGHT = 4.0  # weight of the feature maps relative to the predictions


class PretrainedClassifier(Classifier):
    """A classifier for the classes of ImageNet, with a projection of each of its last maps onto the teacher's."""

    def __init__(self, variant: Variant) -> None:
        super().__init__(variant, Family(), IMAGENET)
        own = variant.dims[-len(CHANNELS) :]
        self.projections = nn.ModuleList(nn.Conv2d(*pair, 1) for pair in zip(own, CHANNELS, strict=True))

    def with_maps(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the projected maps at strides 8, 16 and 32, then the logits B K. x: B 3 S S, normalised."""
        maps = self.maps(x)
        projected = (layer(each) for layer, each in zip(self.projections, maps[-len(CHANNELS) :], strict=True))
        pooled = self.norm(maps[-1].flatten(2).transpose(1, 2)).mean(dim=1)
        return (*projected, self.head(pooled))


def build(variant: Variant, classifier: Checkpoint | None) -> PretrainedClassifier:
    """Build a network for training. Its backbone starts with the weights of the classifier, if there is one."""
    network = PretrainedClassifier(variant)
    network.apply(classify.initialise)
    if classifier is not None:
        own = network.state_dict()
        network.load_state_dict(own | segment.backbone_state(classifier))
    return network


@dataclass(frozen=True)
class Batch:
    """Crops and what the teacher makes of them."""

    x: Tensor  # B 3 S S, normalised
    maps: tuple[Tensor, ...]  # B C H W at strides 8, 16 and 32
    predicted: Tensor  # B K, probabilities


class Pretraining:
    """The objective of a backbone that learns from the teacher alone."""

    def __init__(self, train: Sequence[DecodedImage], test: Sequence[DecodedImage], recipe: Recipe) -> None:
        self.train, self.test, self.recipe = train, test, recipe
        self.teacher = Teacher()
        self.steps = max(1, len(train) // recipe.batch)

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of an epoch."""
        side = crops.side(SIZES, epoch, self.recipe.epochs)
        for chosen, random in shuffled(len(self.train), self.recipe, epoch):
            yield self.batch(chosen, side, random)

    def batch(self, chosen: NDArray[np.int64], side: int, random: np.random.Generator) -> Batch:
        """Return random crops of the chosen images, augmented; the teacher sees the same."""
        generator = torch.Generator().manual_seed(int(random.integers(2**31)))
        images = [self.train[i] for i in chosen]
        boxes = crops.boxes((image.size for image in images), chosen, random, self.recipe.seed, AREA)
        x = augment.normalise(torch.from_numpy(crops.stack(images, boxes, side)))
        return self.taught(augment.flip(augment.recolour(x, generator), generator))

    def taught(self, x: Tensor) -> Batch:
        """Return a batch of normalised crops with the teacher's maps and predictions."""
        *maps, logits = self.teacher.maps(augment.pixels(x))
        return Batch(x, tuple(maps), (logits / TEMPERATURE).softmax(1))

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Return the cosine distances of the maps, and the cross-entropy with the teacher's predictions."""
        assert isinstance(network, PretrainedClassifier)
        *maps, logits = mixed(network.with_maps, batch.x)
        distances = [1 - F.cosine_similarity(own, other).mean() for own, other in zip(maps, batch.maps, strict=True)]
        predicted = F.cross_entropy(logits / TEMPERATURE, batch.predicted)
        return MAPS_WEIGHT * torch.stack(distances).sum() + predicted

    @torch.inference_mode()
    def measure(self, network: nn.Module) -> float:
        """Return how often the network predicts the class of ImageNet that the teacher predicts."""
        side, equal = SIZES[-1][1], 0
        for start in range(0, len(self.test), self.recipe.batch):
            images = self.test[start : start + self.recipe.batch]
            boxes = [crops.centre(image.size) for image in images]
            x = augment.normalise(torch.from_numpy(crops.stack(images, boxes, side)))
            logits = network(x.to(next(network.parameters()).device))
            equal += int((logits.argmax(1).cpu() == self.taught(x).predicted.argmax(1)).sum())
        return equal / len(self.test)


def load(folders: Sequence[Path], limit: int | None = None) -> list[DecodedImage]:
    """Load all images under the folders, or `limit` of them, evenly spaced. Raise DatasetError if there are none."""
    paths = sorted(path for folder in folders for path in folder.rglob("*") if path.suffix.lower() in datasets.SUFFIXES)
    if not paths:
        raise DatasetError(f"there are no images under {', '.join(map(str, folders))}")
    chosen = labelled_images.evenly_spaced(paths, limit)
    return [
        labelled_images.reduce(labelled_images.open_image(path), IMAGE_SIDE) for path in track(chosen, "reading images")
    ]
