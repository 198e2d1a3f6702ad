"""Networks as files for other runtimes: what a file contains, and the comparison of a file with its network.

Importing this module loads no library that runs networks.

Legend: B batch · H W image
"""

import importlib.util
import pkgutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from twins import __version__
from twins.card import MIN_SIDE, Card
from twins.errors import BackendMissing, ExportFailed
from twins.runtime import agreement
from twins.runtime.conversion import check_convertible, conversion_errors

if TYPE_CHECKING:
    from twins.zoo.loading import Loaded

OUTPUTS = {"__call__": "logits", "pooled": "features"}
"""The names of the outputs in a file, by the method of the network that returns each."""

TOLERANCE = 1e-4  # of the deviation of the network's own output
BATCHES = (1, 3)

Pixels = NDArray[np.uint8]
Run = Callable[[Pixels], Mapping[str, NDArray[np.float32]]]


@dataclass(frozen=True)
class FileFormat:
    """One format. The functions are named with their module, which imports libraries."""

    suffixes: tuple[str, ...]  # of the file that is named, and of those that are written beside it
    packages: tuple[str, ...]  # what can be imported if the extra is installed
    extra: str | None  # None if it needs no more than the package itself
    write: str
    open: str


FORMATS: Mapping[str, FileFormat] = {
    "onnx": FileFormat(
        (".onnx",),
        ("onnx", "onnxscript", "onnxruntime"),
        "onnx",
        "twins.runtime.file_formats:write_onnx",
        "twins.runtime.file_formats:open_onnx",
    ),
    "openvino": FileFormat(
        (".xml", ".bin"),
        ("openvino",),
        "openvino",
        "twins.runtime.file_formats:write_openvino",
        "twins.runtime.file_formats:open_openvino",
    ),
    "torch-export": FileFormat(
        (".pt2",),
        (),
        None,
        "twins.runtime.file_formats:write_torch_export",
        "twins.runtime.file_formats:open_torch_export",
    ),
}


@dataclass(frozen=True)
class Port:
    """An input or an output of a file."""

    name: str
    kind: str  # "input" or "output"
    dtype: str
    shape: tuple[str, ...]  # sizes; a name or a question mark for one that is free


@dataclass(frozen=True)
class OpenFile:
    """A file in its own runtime."""

    run: Run
    ports: tuple[Port, ...]
    version: str  # of the format


@dataclass(frozen=True)
class Check:
    """A comparison of a file with its network on images of one size."""

    batch: int
    size: tuple[int, int]
    difference: float  # the largest one of any output, relative to the deviation of that output
    agreement: float  # the share of images, or of positions, that get the same class


@dataclass(frozen=True)
class Exported:
    """A file that was written and checked."""

    path: Path
    version: str
    ports: tuple[Port, ...]
    checks: tuple[Check, ...]


def written(name: str, path: Path) -> list[Path]:
    """Return the files that a format writes, the one at `path` first."""
    return [path.with_suffix(suffix) for suffix in FORMATS[name].suffixes]


def check_installed(name: str) -> None:
    """Raise BackendMissing unless the packages that write and check a format are installed."""
    missing = [package for package in FORMATS[name].packages if importlib.util.find_spec(package) is None]
    if missing:
        raise BackendMissing(
            f"the format {name} needs {' and '.join(missing)}; "
            f"install them with pip install 'twins-serving[{FORMATS[name].extra}]'"
        )


def export(loaded: "Loaded", name: str, path: Path) -> Exported:
    """Write a network as a file of a format, and check the file; it appears only if it is right.

    Raises BackendMissing, ExportFailed, OSError.
    """
    check_convertible(loaded.card.name, loaded.card.task)
    check_installed(name)
    write, open_file = pkgutil.resolve_name(FORMATS[name].write), pkgutil.resolve_name(FORMATS[name].open)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        made = Path(folder) / path.name
        with conversion_errors():
            write(loaded, made)
            opened: OpenFile = open_file(made)
        checks = tuple(compare(loaded, opened.run))
        for part in Path(folder).iterdir():  # OpenVINO writes two
            part.rename(path.parent / part.name)
    return Exported(path, opened.version, opened.ports, checks)


def compare(loaded: "Loaded", run: Run) -> Iterator[Check]:
    """Compare a file with its network on random images. Raise ExportFailed if they differ."""
    reference: Run = pkgutil.resolve_name("twins.runtime.file_formats:network_outputs")(loaded)
    random = np.random.default_rng(0)
    for batch in BATCHES:
        for size in sizes_to_check(loaded.card):
            pixels = random.integers(0, 256, (batch, *size, 3), np.uint8)
            check = difference(reference(pixels), run(pixels), size)
            if not check.difference <= TOLERANCE:
                raise ExportFailed(
                    f"the file differs from the network by {check.difference:.1e} of the deviation for {batch} images "
                    f"of {size[0]}×{size[1]}; nothing was written"
                )
            yield check


def sizes_to_check(card: Card) -> list[tuple[int, int]]:
    """Return the usual size of the model's input, the same upright, and sizes that windows and patches do not fit."""
    height, width = card.geometry.usual_size
    return sorted({(height, width), (width, height), (2 * MIN_SIDE + 1, 3 * MIN_SIDE + 1), (MIN_SIDE, MIN_SIDE)})


def difference(
    wanted: Mapping[str, NDArray[np.float32]], found: Mapping[str, NDArray[np.float32]], size: tuple[int, int]
) -> Check:
    """Return the comparison of the outputs of a file with those of the network."""
    worst = max(agreement.difference(value, found[name]) for name, value in wanted.items())
    same = float((wanted["logits"].argmax(axis=1) == found["logits"].argmax(axis=1)).mean())
    return Check(len(wanted["logits"]), size, worst, same)


def metadata(card: Card) -> dict[str, str]:
    """Return what a user of the file needs to know besides it. Values that are not text are JSON."""
    given = {
        "name": card.name,
        "task": card.task,
        "variant": card.variant,
        "labels": [label.name for label in card.labels],
        "preprocessing": msgspec.to_builtins(card.geometry),
        "normalisation": {**msgspec.to_builtins(card.normalisation), "in_file": True},
        "exif_orientation": card.exif_orientation,
        "source": card.source,
        "licence": card.licence,
        "producer": f"twins-serving {__version__}",
    }
    return {
        key: value if isinstance(value, str) else msgspec.json.encode(value).decode() for key, value in given.items()
    }
