"""A model repository: a folder of models, each with numbered versions, in the layout of Triton.

    DIR/NAME/VERSION/checkpoint.pth    any checkpoint that `twins serve --model NAME=FILE` takes
    DIR/NAME/labels.txt                optional: the class names
    DIR/NAME/model.toml                optional: how to preprocess images and to run the model

Both optional files may also be beside a checkpoint, for that version only.
"""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from twins.card import Interpolation
from twins.errors import BadOption, RepositoryError
from twins.preprocessing import NO_VALUES, Preprocessing
from twins.running import BackendChoice, Precision, Running
from twins.zoo.models import MODEL_NAME, ModelReference

LABELS, MODEL_FILE = "labels.txt", "model.toml"
WEIGHTS = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar")
VERSION_DIGITS = 18  # more would not be a number of 64 bits

Versions = Mapping[str, tuple[str, ...]]
"""The versions of each model, the newest last."""

Fingerprint = tuple[tuple[str, int, int], ...]
"""The name, size and time of change of each file of a version."""


class PreprocessingValues(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table `[preprocessing]` of a model file."""

    size: int | None = None
    crop: float | None = None
    interpolation: Interpolation | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None


class ModelFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of a model file."""

    versions: Annotated[int, msgspec.Meta(ge=1)] = 1  # the newest so many versions are served
    max_batch: Annotated[int, msgspec.Meta(ge=1, le=1024)] | None = None
    max_delay_ms: Annotated[float, msgspec.Meta(ge=0)] | None = None
    backend: BackendChoice | None = None
    precision: Precision | None = None
    preprocessing: PreprocessingValues = PreprocessingValues()


def find(folder: Path) -> Versions:
    """Return the versions of all models in a repository. Raise RepositoryError if it cannot be read."""
    try:
        names = sorted(each.name for each in folder.iterdir() if each.is_dir() and MODEL_NAME.fullmatch(each.name))
        return {name: found for name in names if (found := versions(folder / name))}
    except OSError as error:
        raise RepositoryError(f"{folder}: cannot read the model repository: {error.strerror or error}") from error


def versions(folder: Path) -> tuple[str, ...]:
    """Return the versions of the model in a folder, the newest last. Other folders are ignored."""
    return tuple(sorted((each.name for each in folder.iterdir() if each.is_dir() and is_version(each.name)), key=int))


def is_version(name: str) -> bool:
    """Return whether a text is the number of a version: 1 and above, without leading zeros."""
    return name.isascii() and name.isdigit() and not name.startswith("0") and len(name) <= VERSION_DIGITS


def newest(folder: Path, name: str, found: Versions) -> tuple[str, ...]:
    """Return the versions of a model that are served unless an operator orders others. Raise RepositoryError."""
    return found[name][-read(folder / name / MODEL_FILE).versions :]


def references(folder: Path) -> tuple[ModelReference, ...]:
    """Return the models of a repository that are served from the start. Raise RepositoryError."""
    found = find(folder)
    return tuple(reference(folder, name, version) for name in found for version in newest(folder, name, found))


def reference(folder: Path, name: str, version: str) -> ModelReference:
    """Return a version of a model. Raise RepositoryError."""
    of_model, of_version = folder / name, folder / name / version
    given = read(nearest(MODEL_FILE, of_version, of_model))
    labels = nearest(LABELS, of_version, of_model)
    return ModelReference(
        name,
        checkpoint(of_version),
        labels_file=labels if labels.is_file() else None,
        version=version,
        preprocessing=preprocessing(given, of_model),
        running=Running(given.max_batch, given.max_delay_ms, given.backend, given.precision),
    )


def checkpoint(folder: Path) -> Path:
    """Return the only checkpoint in a folder. Raise RepositoryError."""
    try:
        files = sorted(each for each in folder.iterdir() if each.suffix in WEIGHTS or each.name == "checkpoint")
    except OSError as error:
        raise RepositoryError(f"{folder}: cannot read the version: {error.strerror or error}") from error
    if len(files) != 1:
        what = f"several checkpoints: {', '.join(each.name for each in files)}" if files else "no checkpoint"
        raise RepositoryError(f"{folder} has {what}; a version has one file that ends in {', '.join(WEIGHTS)}")
    return files[0]


def nearest(name: str, *folders: Path) -> Path:
    """Return the file of that name in the first folder that has it, or else in the last one."""
    return next((folder / name for folder in folders if (folder / name).is_file()), folders[-1] / name)


def read(path: Path) -> ModelFile:
    """Return the values of a model file, the defaults if there is none. Raise RepositoryError."""
    try:
        return msgspec.convert(tomllib.loads(path.read_text("utf-8")), ModelFile)
    except FileNotFoundError:
        return ModelFile()
    except OSError as error:
        raise RepositoryError(f"{path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise RepositoryError(f"{path}: {error}") from error


def preprocessing(given: ModelFile, of_model: Path) -> Preprocessing:
    """Return the preprocessing values of a model file. Raise RepositoryError."""
    values: dict[str, Any] = msgspec.structs.asdict(given.preprocessing)
    try:
        return Preprocessing(**values) if any(value is not None for value in values.values()) else NO_VALUES
    except BadOption as error:
        raise RepositoryError(f"{of_model / MODEL_FILE}: {error}") from error


def fingerprint(folder: Path, name: str, version: str) -> Fingerprint:
    """Return what changes when a file of a version does, such as while it is copied."""
    found: Iterable[Path] = (folder / name / version).iterdir()
    return tuple(sorted((each.name, (stat := each.stat()).st_size, stat.st_mtime_ns) for each in found))
