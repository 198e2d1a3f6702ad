"""A trained network as a file that `twins serve` takes as it is: half precision, with its labels and input size."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from examples.train import classify, segment
from twins.card import Label
from twins.checkpoints import checkpoint
from twins.checkpoints.metadata import Declared
from twins.network.variants import Family

SCAFFOLDING = "imagenet."  # of a student: the layer that only its teacher needed


def classifier(network: nn.Module, classes: Sequence[str], path: Path) -> None:
    """Writes a classifier with the classes' names, as people write them."""
    state = {key: value for key, value in network.state_dict().items() if not key.startswith(SCAFFOLDING)}
    names = tuple(name.replace("_", " ") for name in classes)
    write(state, Declared(Family(), classify.CROP, classify.SERVED, names), path)


def segmenter(network: nn.Module, classes: Sequence[Label], path: Path) -> None:
    """Writes a segmentation network with its classes and their colours."""
    colours = tuple(label.colour for label in classes if label.colour)
    palette = colours if len(colours) == len(classes) else None
    names = tuple(label.name for label in classes)
    write(network.state_dict(), Declared(Family(), 1.0, segment.SERVED, names, palette), path)


def write(state: dict[str, Tensor], declared: Declared, path: Path) -> None:
    """Writes parameters and what is to be known of them."""
    checkpoint.save(replace(checkpoint.recognise(state, {}), declared=declared), path, half=True)
