"""The files that the commands write: one per image, in a folder."""

import errno
from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path

import click

from service.cli.images import STDIN
from twins.render.renderer import JPEG, JSON, NPY, PNG

SUFFIXES = {PNG: ".png", JPEG: ".jpg", JSON: ".json", NPY: ".npy"}
"""By media type."""

NO_FOLDER = {
    errno.EEXIST: "this is a file; give a folder",
    errno.ENOTDIR: "a part of this path is a file; give a folder",
}
"""Why a folder cannot be made, for the errors that a user can mend."""


def make_folder(path: Path) -> None:
    """Make the output folder. Raises UsageError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = NO_FOLDER.get(error.errno or 0, error.strerror or error)
        raise click.UsageError(f"--output {path}: {reason}") from error


def write_file(path: Path, content: bytes) -> None:
    """Write a file. Raises UsageError."""
    try:
        path.write_bytes(content)
    except OSError as error:
        raise click.UsageError(f"{path}: {error.strerror or error}") from error


def name_files(files: Sequence[Path], folder: Path, suffix: str) -> list[Path]:
    """Return the path of each image's output: its name, with a number if the name is taken; never that of an image."""
    taken = {path.resolve() for path in files if path != STDIN}
    names: list[Path] = []
    for path in files:
        stem = "stdin" if path == STDIN else path.stem
        numbered = (f"{stem}-{number}" for number in count(2))
        free = (folder / f"{name}{suffix}" for name in chain([stem], numbered))
        target = next(each for each in free if lower_case(each) not in taken and each.resolve() not in taken)
        taken |= {lower_case(target)}
        names.append(target)
    return names


def lower_case(path: Path) -> Path:
    """Return the path as file systems compare it that ignore case."""
    return path.resolve().with_name(path.name.lower())
