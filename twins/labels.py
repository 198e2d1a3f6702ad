"""Class names: the sets that ship, and lists of the user's own."""

from importlib.resources import files
from pathlib import Path

from twins.card import Label
from twins.errors import LabelsError

ASSUMED = {1000: "imagenet1k"}
"""The set a checkpoint with that many classes is taken to mean when nobody says otherwise."""


def shipped(name: str) -> tuple[Label, ...]:
    """The set `labels/NAME.txt` of the package."""
    return parse(files("twins").joinpath("labels", f"{name}.txt").read_text("utf-8"))


def read(path: Path) -> tuple[Label, ...]:
    """A text file with a class a line, in the order of the class ids. Raises LabelsError."""
    try:
        labels = parse(path.read_text("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise LabelsError(f"{path}: cannot read the labels ({error})") from error
    if not labels:
        raise LabelsError(f"{path}: no labels in it; one class a line is expected")
    return labels


def parse(text: str) -> tuple[Label, ...]:
    """A class a line: its name, or a synset id, a tab and its name."""
    return tuple(parse_line(line.strip()) for line in text.splitlines() if line.strip())


def parse_line(line: str) -> Label:
    """One class."""
    synset, tab, name = line.partition("\t")
    return Label(name.strip(), synset) if tab else Label(line)


def numbered(count: int) -> tuple[Label, ...]:
    """Names for classes that nobody named."""
    return tuple(Label(f"class {i}") for i in range(count))


def choose(classes: int, *candidates: tuple[Label, ...] | None) -> tuple[Label, ...]:
    """The first given list of labels; if none is given, what the number of classes suggests.

    Raises LabelsError where the list is not one label a class.
    """
    given = next((labels for labels in candidates if labels), None)
    if given is None:
        return shipped(ASSUMED[classes]) if classes in ASSUMED else numbered(classes)
    if len(given) != classes:
        raise LabelsError(f"{len(given)} labels for a network of {classes} classes; give the right list with --labels")
    return given
