"""Save a trained network in half precision, with its labels and input size, for `twins serve`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from examples.train import classify, crops, instances, segment
from twins.card import Label
from twins.checkpoints import architecture, checkpoint
from twins.checkpoints.metadata import Declared
from twins.network.backbone import Backbone
from twins.network.variants import Family
from twins.preprocessing import IMAGENET, Preprocessing

TRAINING_ONLY = ("imagenet.", "projections.")  # prefixes of the layers that are only used during training


def classifier(network: nn.Module, classes: Sequence[str], path: Path) -> None:
    """Save a classifier with its class names. Underscores become spaces."""
    names = tuple(name.replace("_", " ") for name in classes)
    preprocessing = Preprocessing(classify.INPUT_SIDE, crops.CENTRE, "bicubic").with_defaults(IMAGENET)
    write(network, Declared(Family(), crops.CENTRE, preprocessing, names), path)


def pretrained(network: nn.Module, side: int, path: Path) -> None:
    """Save a network that knows the classes of ImageNet, whose names are built in."""
    preprocessing = Preprocessing(side, crops.CENTRE, "bicubic").with_defaults(IMAGENET)
    write(network, Declared(Family(), crops.CENTRE, preprocessing), path)


def segmenter(network: nn.Module, classes: Sequence[Label], path: Path, input_side: int = segment.INPUT_SIDE) -> None:
    """Save a segmentation network with its class names and colours."""
    colours = tuple(label.colour for label in classes if label.colour)
    palette = colours if len(colours) == len(classes) else None
    names = tuple(label.name for label in classes)
    preprocessing = Preprocessing(input_side, interpolation="bilinear").with_defaults(IMAGENET)
    write(network, Declared(Family(), 1.0, preprocessing, names, palette), path)


def detector(network: nn.Module, classes: Sequence[Label], path: Path) -> None:
    """Save a detector with its class names."""
    preprocessing = Preprocessing(instances.INPUT_SIDE, interpolation="bilinear").with_defaults(IMAGENET)
    names = tuple(label.name for label in classes)
    write(network, Declared(Family(), 1.0, preprocessing, names), path)


def write(network: nn.Module, declared: Declared, path: Path) -> None:
    """Save what serving needs of a network, with metadata."""
    state = {key: value for key, value in network.state_dict().items() if not key.startswith(TRAINING_ONLY)}
    backbone = network if isinstance(network, Backbone) else network.backbone
    assert isinstance(backbone, Backbone)
    found = checkpoint.recognise(state, architecture.hidden(backbone.variant))
    checkpoint.save(replace(found, declared=declared), path, half=True)
