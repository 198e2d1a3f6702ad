"""Class names: the sets of the package, and label files of users."""

import re
from importlib.resources import files
from pathlib import Path

from twins.card import Label, TaskName
from twins.errors import LabelsError

ASSUMED: dict[tuple[TaskName, int], str] = {
    ("classify", 1000): "imagenet1k",
    ("segment", 150): "ade20k",
    ("detect", 80): "coco80",
}
"""The label set that is assumed for a task and a number of classes if no labels are given."""

COLOUR = re.compile(r"#[0-9a-f]{6}")
NUMBER = re.compile(r"[0-9]{1,9}")


def shipped(name: str) -> tuple[Label, ...]:
    """Return the set `labels/NAME.txt` of the package."""
    return parse(files("twins").joinpath("labels", f"{name}.txt").read_text("utf-8"))


def read(path: Path) -> tuple[Label, ...]:
    """Read a text file with one class per line, in the order of the class ids; see `parse_line`. Raise LabelsError."""
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise LabelsError(f"{path}: cannot read the labels: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise LabelsError(f"{path}: cannot read the labels: it is not a text file in UTF-8") from error
    try:
        labels = parse(text)
    except LabelsError as error:
        raise LabelsError(f"{path}: {error}") from error
    if not labels:
        raise LabelsError(f"{path}: the file has no labels; it needs one class per line")
    return labels


def parse(text: str) -> tuple[Label, ...]:
    """Parse one class per line; see `parse_line`. Ignore empty lines."""
    return tuple(parse_line(line.strip()) for line in text.splitlines() if line.strip())


def parse_line(line: str) -> Label:
    """Parse one class: optionally a colour `#rrggbb`, the data set's number and a synset id, then the name, with tabs.

    Raise LabelsError if a field before the name is repeated or malformed.
    """
    *before, name = (field.strip() for field in line.split("\t"))
    colours = [field.lower() for field in before if field.startswith("#")]
    numbers = [field for field in before if NUMBER.fullmatch(field)]
    synsets = [field for field in before if not field.startswith("#") and not NUMBER.fullmatch(field)]
    if max(map(len, (colours, numbers, synsets))) > 1 or not all(COLOUR.fullmatch(colour) for colour in colours):
        raise LabelsError(
            f"{line!r}: only a colour #rrggbb, a number and a synset id, once each and followed by a tab, may precede "
            "the name"
        )
    category = int(numbers[0]) if numbers else None
    return Label(name, next(iter(synsets), None), next(iter(colours), None), category)


def numbered(count: int) -> tuple[Label, ...]:
    """Return names for classes without labels."""
    return tuple(Label(f"class {i}") for i in range(count))


def choose(classes: int, *candidates: tuple[Label, ...] | None, task: TaskName = "classify") -> tuple[Label, ...]:
    """Return the first list of labels that is given, or the labels that the task and the number of classes suggest.

    Raise LabelsError if the list does not have one label per class.
    """
    given = next((labels for labels in candidates if labels), None)
    if given is None:
        assumed = ASSUMED.get((task, classes))
        return shipped(assumed) if assumed else numbered(classes)
    if len(given) != classes:
        raise LabelsError(
            f"{len(given)} labels were given for a network of {classes} classes; set the right list with --labels"
        )
    return given
