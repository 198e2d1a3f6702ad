"""The exported networks on disk: a network is exported and checked once, and read from then on without PyTorch.

The folder of an exported network is named by a hash of all that it depends on: the checkpoint, the code of the network,
and the versions of the libraries. It has the files of the format and `facts.json`: the facts about the checkpoint, and
the sha256 of each file. A folder appears complete or not at all. The hashes reveal damage, not malice: whoever may
write to the folder decides what the models answer, so that it belongs to the user alone.
"""

import hashlib
import inspect
import logging
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec
from filelock import FileLock

from twins.card import Card
from twins.checkpoints.facts import TIMM_CONFIG, Facts
from twins.errors import WeightsUnavailable
from twins.runtime.conversion import check_convertible, conversion_errors
from twins.zoo import downloads, hub, loading
from twins.zoo.models import ModelReference

if TYPE_CHECKING:
    from torch import nn

FACTS = "facts.json"
INSTALLED = Path(sys.prefix) / "share" / "twins" / "exported"  # what an image was built with; it is never written to
UNFINISHED = ".unfinished-"  # begins the names of folders that are not complete
LONGEST_EXPORT_S = 24 * 3600.0
MOST_FOLDERS = 32  # exported networks that are kept; the one that was not used for the longest time goes first

CODE = (
    *("network/**/*.py", "checkpoints/*.py", "preprocessing.py"),
    *("runtime/export.py", "runtime/agreement.py"),
)
"""The files of this package on which every exported network depends."""

EXPORTING = threading.Lock()  # conversions change settings of the whole process while they run

log = logging.getLogger(__name__)

Graph = TypeVar("Graph")


class Format(Protocol[Graph]):
    """A format of exported networks."""

    @property
    def name(self) -> str:
        """Return the name of the format with the version of its library."""

    @property
    def code(self) -> tuple[str, ...]:
        """Return the files of this package on which the graph depends besides the class and `CODE`."""

    def export(self, network: "nn.Module") -> Graph:
        """Return the graph of a network, after comparing its outputs with the network's. Raise ExportFailed."""

    def save(self, graph: Graph, folder: Path) -> None:
        """Write a graph to files in an empty folder. Raise OSError."""

    def open(self, folder: Path) -> Graph:
        """Read a graph from that folder. Raise OSError."""


@dataclass(frozen=True)
class Contents:
    """The content of `facts.json`."""

    facts: Facts
    files: dict[str, str]  # the sha256 of each file


def load_exported(reference: ModelReference, format_: Format[Graph]) -> tuple[Card, Graph]:
    """Return the card and the graph of a model, exported if this was not done before. Raise TwinsError."""
    reference = hub.located(reference)
    path = hub.fetch(reference)
    key = key_of(path, reference.sha256 or hub.read_digest(path), format_)
    folder = exports_folder() / key
    facts, graph = read(folder, format_) or read(INSTALLED / key, format_) or export(folder, reference, format_)
    loading.check_architecture(reference, facts, path)
    with loading.named(reference, path):
        return loading.card(reference, facts), graph


def exports_folder() -> Path:
    """Return the folder of all exported networks, which is beside the downloaded weights."""
    return hub.cache_folder() / "exported"


def key_of(path: Path, sha256: str, format_: Format[Any]) -> str:
    """Return the name of the folder for a checkpoint, whose preprocessing may be in a file beside it."""
    config = path.parent / TIMM_CONFIG
    beside = downloads.digest(config) if config.is_file() else ""
    parts = (
        sha256,
        beside,
        format_.name,
        version("torch"),
        digest_of_code((*CODE, *format_.code)),
        *sources(type(format_)),
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


@cache
def digest_of_code(patterns: tuple[str, ...]) -> str:
    """Return a hash of the code in some files of this package."""
    root = Path(__file__).parent.parent
    found = [sorted(root.glob(pattern)) for pattern in patterns]
    assert all(found), f"one of {patterns} matches no file"
    files = sorted(file for each in found for file in each)
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def sources(kind: type) -> Iterator[str]:
    """Yield the code of a class and of those that it extends."""
    return map(inspect.getsource, kind.__mro__[:-1])  # `object` has none


def read(folder: Path, format_: Format[Graph]) -> tuple[Facts, Graph] | None:
    """Return what an earlier export wrote; None if there is nothing, or not what was written."""
    try:
        contents = msgspec.json.decode((folder / FACTS).read_bytes(), type=Contents)
        if contents.files != digests(folder):
            log.warning("%s is damaged; the network is exported again", folder)
            return None
        if folder.parent != INSTALLED:
            with suppress(OSError):  # the folder may be read-only
                folder.touch()  # it was used now
        return contents.facts, format_.open(folder)
    except (OSError, msgspec.MsgspecError):
        return None


def export(folder: Path, reference: ModelReference, format_: Format[Graph]) -> tuple[Facts, Graph]:
    """Export a network and store it in the folder. If several processes want the same, one does and the others wait."""
    lock = FileLock(folder.with_suffix(".lock"))
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        guard = lock.acquire()
    except OSError as error:
        warn_of_slow_starts(folder, error)
        return export_now(reference, format_)
    with guard:
        if found := read(folder, format_):
            return found
        facts, graph = export_now(reference, format_)
        check_unchanged(folder, reference, format_)
        try:
            store(folder, facts, graph, format_)
            prune(folder.parent)
            return facts, format_.open(folder)  # which shares no memory with the network
        except OSError as error:
            warn_of_slow_starts(folder, error)
            return facts, graph


def check_unchanged(folder: Path, reference: ModelReference, format_: Format[Any]) -> None:
    """Raise WeightsUnavailable if the folder's name was made from another file than the one that was read since."""
    path = hub.fetch(reference)
    if key_of(path, hub.read_digest(path), format_) != folder.name:
        raise WeightsUnavailable(f"{path} was replaced while it was read; start again")


def warn_of_slow_starts(folder: Path, error: OSError) -> None:
    """Log that exported networks cannot be stored."""
    log.warning("cannot store exported networks in %s, so that every start exports them: %s", folder.parent, error)


def export_now(reference: ModelReference, format_: Format[Graph]) -> tuple[Facts, Graph]:
    """Return the facts and the graph of a model. Raise TwinsError."""
    from twins.checkpoints import checkpoint  # late, since it imports PyTorch

    found, path = loading.read(reference)
    check_convertible(reference.name, found.task)
    with EXPORTING, loading.named(reference, path):
        facts = Facts(**{name: getattr(found, name) for name in Facts.__dataclass_fields__})
        with conversion_errors():
            return facts, format_.export(checkpoint.build(found))


def store(folder: Path, facts: Facts, graph: Graph, format_: Format[Graph]) -> None:
    """Write an exported network to its folder, in one step. Raise OSError."""
    with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=folder.parent, ignore_cleanup_errors=True) as name:
        written = Path(name) / folder.name
        written.mkdir()
        format_.save(graph, written)
        (written / FACTS).write_bytes(msgspec.json.encode(Contents(facts, digests(written))))
        shutil.rmtree(folder, ignore_errors=True)
        written.replace(folder)


def digests(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file of a format in a folder. Raise OSError."""
    return {file.name: downloads.digest(file) for file in sorted(folder.iterdir()) if file.name != FACTS}


def prune(folder: Path) -> None:
    """Delete what killed processes left, and the networks that were not used for the longest time if there are many."""
    for left in folder.glob(f"{UNFINISHED}*"):
        with suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > LONGEST_EXPORT_S:
                shutil.rmtree(left, ignore_errors=True)
    for old in sorted(by_use(folder))[:-MOST_FOLDERS]:
        shutil.rmtree(old[1], ignore_errors=True)
        old[1].with_suffix(".lock").unlink(missing_ok=True)


def by_use(folder: Path) -> Iterator[tuple[float, Path]]:
    """Yield each exported network with the time at which it was used last."""
    for each in folder.iterdir():
        with suppress(FileNotFoundError):  # another process deletes as well
            if (each / FACTS).is_file():
                yield each.stat().st_mtime, each
