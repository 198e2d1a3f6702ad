"""Class names: the sets that ship, and lists of the user's own."""

import re
from importlib.resources import files
from pathlib import Path

from twins.card import Label, TaskName
from twins.errors import LabelsError

ASSUMED: dict[tuple[TaskName, int], str] = {("classify", 1000): "imagenet1k", ("segment", 150): "ade20k"}
"""The set a checkpoint with that task and class count is taken to mean when nobody says otherwise."""

COLOUR = re.compile(r"#[0-9a-f]{6}")


def shipped(name: str) -> tuple[Label, ...]:
    """The set `labels/NAME.txt` of the package."""
    return parse(files("twins").joinpath("labels", f"{name}.txt").read_text("utf-8"))


def read(path: Path) -> tuple[Label, ...]:
    """A text file with a class a line, in the order of the class ids, see `parse_line`. Raises LabelsError."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise LabelsError(f"{path}: cannot read the labels ({error})") from error
    try:
        labels = parse(text)
    except LabelsError as error:
        raise LabelsError(f"{path}: {error}") from error
    if not labels:
        raise LabelsError(f"{path}: no labels in it; one class a line is expected")
    return labels


def parse(text: str) -> tuple[Label, ...]:
    """A class a line, see `parse_line`; empty lines do not count."""
    return tuple(parse_line(line.strip()) for line in text.splitlines() if line.strip())


def parse_line(line: str) -> Label:
    """One class: its name, perhaps with a colour `#rrggbb` or a synset id or both before it, a tab after each.

    Raises LabelsError.
    """
    *before, name = (field.strip() for field in line.split("\t"))
    colours = [field.lower() for field in before if field.startswith("#")]
    synsets = [field for field in before if not field.startswith("#")]
    if len(colours) > 1 or len(synsets) > 1 or not all(COLOUR.fullmatch(colour) for colour in colours):
        raise LabelsError(f"{line!r}: before a name and its tab may stand a colour #rrggbb and a synset id, once each")
    return Label(name, next(iter(synsets), None), next(iter(colours), None))


def numbered(count: int) -> tuple[Label, ...]:
    """Names for classes that nobody named."""
    return tuple(Label(f"class {i}") for i in range(count))


def choose(classes: int, *candidates: tuple[Label, ...] | None, task: TaskName = "classify") -> tuple[Label, ...]:
    """The first given list of labels; if none is given, what the task and the number of classes suggest.

    Raises LabelsError where the list is not one label a class.
    """
    given = next((labels for labels in candidates if labels), None)
    if given is None:
        assumed = ASSUMED.get((task, classes))
        return shipped(assumed) if assumed else numbered(classes)
    if len(given) != classes:
        raise LabelsError(f"{len(given)} labels for a network of {classes} classes; give the right list with --labels")
    return given
