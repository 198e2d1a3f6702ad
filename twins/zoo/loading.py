"""Loads the network and the card of a model reference. The functions that build a network import torch, late."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from twins.card import Card, Label
from twins.checkpoints.facts import Facts, closest
from twins.errors import BadOption, CheckpointError, LabelsError
from twins.preprocessing import NO_VALUES, Chosen, choose
from twins.zoo import hub, labels
from twins.zoo.models import ZOO, ModelReference, ZooEntry
from twins.zoo.sources import Packaged

if TYPE_CHECKING:
    from torch import nn

    from twins.checkpoints.checkpoint import Checkpoint


@dataclass(frozen=True)
class Loaded:
    """A network in float32 and eval mode on the CPU, and its card."""

    network: "nn.Module"
    card: Card


def load(reference: ModelReference) -> Loaded:
    """Fetch, read and build a model. Raises TwinsError if the file, the labels or the values are wrong."""
    from twins.checkpoints import checkpoint

    reference = hub.located(reference)
    found, path = read(reference)
    with named(reference, path):
        return Loaded(checkpoint.build(found), card(reference, found))


def network(reference: ModelReference) -> "nn.Module":
    """Return the network of a model without its card, so that labels are not needed. Raises TwinsError."""
    from twins.checkpoints import checkpoint

    found, path = read(reference)
    with named(reference, path):
        return checkpoint.build(found)


def features(reference: ModelReference) -> "nn.Module":
    """Return the backbone of a model, as a module that returns its four maps. Raises TwinsError."""
    from twins.network.backbone import Backbone, FeatureMaps

    found = network(reference)
    backbone = found if isinstance(found, Backbone) else found.backbone
    assert isinstance(backbone, Backbone)
    return FeatureMaps(backbone).eval()


@contextmanager
def named(reference: ModelReference, path: Path) -> Iterator[None]:
    """Put the name and the file of a model before an error about its content."""
    try:
        yield
    except (CheckpointError, LabelsError, BadOption) as error:
        raise type(error)(f"{reference.name} ({path}): {error}") from error


def read(reference: ModelReference) -> "tuple[Checkpoint, Path]":
    """Return the checkpoint of a model, fetched if necessary, and its file.

    Raises TwinsError if it is not the model that the name stands for.
    """
    from twins.checkpoints import checkpoint

    path = hub.fetch(reference)
    found = checkpoint.load(path)
    check_architecture(reference, found, path)
    return found, path


def check_architecture(reference: ModelReference, found: Facts, path: Path) -> None:
    """Raise CheckpointError if a file holds another variant or head than its name says."""
    entry = ZOO.get(reference.name)
    if entry is None or (found.variant_name, found.head) == (entry.variant, entry.head):
        return
    nearest = (closest(found.variant), found.head)
    same = (
        name for name, known in ZOO.items() if (known.variant, known.head) == nearest != (entry.variant, entry.head)
    )
    other = next(same, None)
    hint = f" The closest variant is {nearest[0]}: --model {other}={path}" if other else " Is the file complete?"
    raise CheckpointError(f"{path} is not {reference.name}: it contains {describe(found)}.{hint}")


def describe(found: Facts) -> str:
    """Return a description of an architecture."""
    variant = found.variant
    return f"{variant.kind}, dims {variant.dims}, depths {variant.depths}, head {found.head}"


def card(reference: ModelReference, found: Facts) -> Card:
    """Return the card of a model. The user's values come before the file's, and those before the zoo's.

    Raises LabelsError, BadOption.
    """
    entry = ZOO.get(reference.name)
    published = entry if reference.checkpoint is None else None  # figures and licence hold for the published file only
    chosen = choose_preprocessing(reference, found)
    return Card(
        name=reference.name,
        task=found.task,
        variant=found.variant_name,
        labels=choose_labels(entry, found, reference.labels_file),
        geometry=chosen.geometry,
        normalisation=chosen.normalisation,
        exif_orientation=entry.exif_orientation if entry else True,
        source=str(reference.hub or reference.checkpoint.name) if reference.checkpoint else str(entry and entry.source),
        licence=published.licence if published else "unknown; ask the owner of the checkpoint",
        published=published.published if published else None,
        measured=published.measured if published else None,
        parameters=found.parameters,
        sha256=reference.sha256,
        notes=published.notes if published else "",
        document=published.source.document() if published and isinstance(published.source, Packaged) else "",
        sources=chosen.sources,
        version=reference.version,
    )


def choose_labels(entry: ZooEntry | None, found: Facts, labels_file: Path | None) -> tuple[Label, ...]:
    """Return the labels of the user, else the file's, else the zoo's. Raises LabelsError."""
    given = labels.read(labels_file) if labels_file else None
    known = labels.shipped(entry.labels) if entry else None
    return labels.choose(found.classes, given, embedded(found), known, task=found.task)


def embedded(found: Facts) -> tuple[Label, ...] | None:
    """Return the labels in a checkpoint, with their colours if it has one for each."""
    names, palette = found.declared.labels, found.declared.palette
    if not names:
        return None
    colours = palette if palette and len(palette) == len(names) else [None] * len(names)
    return tuple(Label(name, colour=colour) for name, colour in zip(names, colours, strict=True))


def choose_preprocessing(reference: ModelReference, found: Facts) -> Chosen:
    """Return the preprocessing values of a model and their sources. Raises BadOption.

    A published file is preprocessed as it was evaluated: its zoo entry has all values.
    """
    entry = ZOO.get(reference.name)
    if entry and not reference.checkpoint:
        return choose(found.task, {"flag": reference.preprocessing, "zoo": entry.preprocessing})
    known = entry.preprocessing if entry else NO_VALUES
    return choose(found.task, {"flag": reference.preprocessing, "zoo": known, **found.declared.layers})
