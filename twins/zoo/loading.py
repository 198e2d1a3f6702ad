"""From what a user asked for to a network and its card."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from twins.card import Card, Geometry, Label, Normalisation
from twins.checkpoints import checkpoint
from twins.checkpoints.checkpoint import Checkpoint
from twins.errors import CheckpointError, LabelsError
from twins.zoo import hub, labels
from twins.zoo import models as zoo
from twins.zoo.models import Packaged, Row, Spec

if TYPE_CHECKING:
    from torch import nn

SIZE = 224  # pixels, of a network that nobody said anything about


@dataclass(frozen=True)
class Loaded:
    """A network in eval mode, float32 on the CPU, and what is known of it."""

    network: "nn.Module"
    card: Card


def load(spec: Spec, *, labels_file: Path | None = None) -> Loaded:
    """Fetches, reads and builds a model. Raises TwinsError: every way in which a user can be wrong."""
    found, path = read(spec)
    try:
        network = checkpoint.build(found)
        return Loaded(network, card(spec, zoo.ZOO.get(spec.name), found, labels_file))
    except (CheckpointError, LabelsError) as error:
        raise type(error)(f"{spec.name} ({path}): {error}") from error


def network(spec: Spec) -> "nn.Module":
    """A model's network alone, of any number of classes: nobody asks for their names. Raises TwinsError."""
    found, path = read(spec)
    try:
        return checkpoint.build(found)
    except CheckpointError as error:
        raise CheckpointError(f"{spec.name} ({path}): {error}") from error


def read(spec: Spec) -> tuple[Checkpoint, Path]:
    """A model's checkpoint, fetched if need be, and its file. Raises TwinsError if it is another than the name says."""
    path = hub.fetch(spec)
    found = checkpoint.load(path)
    row = zoo.ZOO.get(spec.name)
    if row is not None:
        expect(row, found, spec, path)
    return found, path


def expect(row: Row, found: Checkpoint, spec: Spec, path: Path) -> None:
    """Refuses a file that holds another variant or head than the name says."""
    if (found.variant_name, found.head) == (row.variant, row.head):
        return
    nearest = (checkpoint.closest(found.variant), found.head)
    same = (
        name for name, known in zoo.ZOO.items() if (known.variant, known.head) == nearest != (row.variant, row.head)
    )
    other = next(same, None)
    hint = f" The closest variant is {nearest[0]}: --model {other}={path}" if other else " Is the file complete?"
    raise CheckpointError(f"{path} is no {spec.name}: its shapes say {describe(found)}.{hint}")


def describe(found: Checkpoint) -> str:
    """An architecture in words."""
    variant = found.variant
    return f"{variant.kind}, dims {variant.dims}, depths {variant.depths}, head {found.head}"


def card(spec: Spec, row: Row | None, found: Checkpoint, labels_file: Path | None) -> Card:
    """What is known of a model, the user's word before the file's before the zoo's. Raises LabelsError."""
    own = labels.read(labels_file) if labels_file else None
    return Card(
        name=spec.name,
        task=found.task,
        variant=found.variant_name,
        labels=labels.choose(
            found.classes, own, embedded(found), labels.shipped(row.labels) if row else None, task=found.task
        ),
        geometry=row.geometry if row else geometry(found),
        normalisation=Normalisation(),
        exif_orientation=row.exif_orientation if row else True,
        source=spec.checkpoint.name if spec.checkpoint else str(row and row.source),
        licence=row.licence if row and not spec.checkpoint else "unknown: the checkpoint's owner says",
        published=row.published if row and not spec.checkpoint else None,
        measured=row.measured if row and not spec.checkpoint else None,
        parameters=found.parameters,
        notes=row.notes if row and not spec.checkpoint else "",
        document=row.source.document() if row and not spec.checkpoint and isinstance(row.source, Packaged) else "",
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
        return zoo.whole(size) if size else zoo.MMSEG
    return zoo.centre_crop(size or SIZE, found.declared.crop)
