"""From what a user asked for to a network and its card."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from twins.card import Card, Geometry, Label, Normalisation
from twins.checkpoints import checkpoint
from twins.checkpoints.checkpoint import Checkpoint
from twins.errors import CheckpointError, LabelsError
from twins.zoo import hub, labels
from twins.zoo.models import MMSEG_GEOMETRY, ZOO, ModelReference, Packaged, ZooEntry, centre_crop, resize_keep_ratio

if TYPE_CHECKING:
    from torch import nn

SIZE = 224  # pixels, of a network that nobody said anything about


@dataclass(frozen=True)
class Loaded:
    """A network in eval mode, float32 on the CPU, and what is known of it."""

    network: "nn.Module"
    card: Card


def load(reference: ModelReference, *, labels_file: Path | None = None) -> Loaded:
    """Fetches, reads and builds a model. Raises TwinsError: every way in which a user can be wrong."""
    found, path = read(reference)
    try:
        network = checkpoint.build(found)
        return Loaded(network, card(reference, ZOO.get(reference.name), found, labels_file))
    except (CheckpointError, LabelsError) as error:
        raise type(error)(f"{reference.name} ({path}): {error}") from error


def network(reference: ModelReference) -> "nn.Module":
    """A model's network alone, of any number of classes: nobody asks for their names. Raises TwinsError."""
    found, path = read(reference)
    try:
        return checkpoint.build(found)
    except CheckpointError as error:
        raise CheckpointError(f"{reference.name} ({path}): {error}") from error


def read(reference: ModelReference) -> tuple[Checkpoint, Path]:
    """A model's checkpoint, fetched if need be, and its file. Raises TwinsError if it is another than the name says."""
    path = hub.fetch(reference)
    found = checkpoint.load(path)
    entry = ZOO.get(reference.name)
    if entry is not None:
        expect(entry, found, reference, path)
    return found, path


def expect(entry: ZooEntry, found: Checkpoint, reference: ModelReference, path: Path) -> None:
    """Refuses a file that holds another variant or head than the name says."""
    if (found.variant_name, found.head) == (entry.variant, entry.head):
        return
    nearest = (checkpoint.closest(found.variant), found.head)
    same = (
        name for name, known in ZOO.items() if (known.variant, known.head) == nearest != (entry.variant, entry.head)
    )
    other = next(same, None)
    hint = f" The closest variant is {nearest[0]}: --model {other}={path}" if other else " Is the file complete?"
    raise CheckpointError(f"{path} is no {reference.name}: its shapes say {describe(found)}.{hint}")


def describe(found: Checkpoint) -> str:
    """An architecture in words."""
    variant = found.variant
    return f"{variant.kind}, dims {variant.dims}, depths {variant.depths}, head {found.head}"


def card(reference: ModelReference, entry: ZooEntry | None, found: Checkpoint, labels_file: Path | None) -> Card:
    """What is known of a model, the user's word before the file's before the zoo's. Raises LabelsError."""
    own = labels.read(labels_file) if labels_file else None
    return Card(
        name=reference.name,
        task=found.task,
        variant=found.variant_name,
        labels=labels.choose(
            found.classes, own, embedded(found), labels.shipped(entry.labels) if entry else None, task=found.task
        ),
        geometry=entry.geometry if entry else geometry(found),
        normalisation=Normalisation(),
        exif_orientation=entry.exif_orientation if entry else True,
        source=reference.checkpoint.name if reference.checkpoint else str(entry and entry.source),
        licence=entry.licence if entry and not reference.checkpoint else "unknown: the checkpoint's owner says",
        published=entry.published if entry and not reference.checkpoint else None,
        measured=entry.measured if entry and not reference.checkpoint else None,
        parameters=found.parameters,
        sha256=reference.sha256,
        notes=entry.notes if entry and not reference.checkpoint else "",
        document=entry.source.document()
        if entry and not reference.checkpoint and isinstance(entry.source, Packaged)
        else "",
    )


def embedded(found: Checkpoint) -> tuple[Label, ...] | None:
    """The labels in a checkpoint itself, with their colours where it has one for each."""
    names, palette = found.declared.labels, found.declared.palette
    if not names:
        return None
    colours = palette if palette and len(palette) == len(names) else [None] * len(names)
    return tuple(Label(name, colour=colour) for name, colour in zip(names, colours, strict=True))


def geometry(found: Checkpoint) -> Geometry:
    """What a network that nobody said anything about is given."""
    size = found.declared.size
    if found.task == "segment":
        return resize_keep_ratio(size) if size else MMSEG_GEOMETRY
    return centre_crop(size or SIZE, found.declared.crop)
