"""The exemplars of the histograms: for each bucket, the latest observation whose trace is recorded.

The mapped files of prometheus_client hold numbers alone. Therefore each process keeps its exemplars in memory, and
writes them to a file of its own beside the mapped ones whenever it sends a heartbeat and there are new ones.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from service.metric_files import write_whole

PREFIX, SUFFIX = "exemplars_", ".msgpack"


class Exemplar(msgspec.Struct, frozen=True, array_like=True):
    """An observation in a bucket."""

    series: str  # of the bucket, with its suffix
    labels: tuple[tuple[str, str], ...]  # of the series, sorted by their names; the bound of the bucket is one of them
    marks: dict[str, str]  # the labels of the exemplar itself
    value: float
    timestamp: float

    @property
    def key(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """Return what the exemplars of a bucket have in common in all processes."""
        return self.series, self.labels


Key = tuple[str, tuple[tuple[str, str], ...]]
DECODER = msgspec.msgpack.Decoder(list[Exemplar])


class Exemplars:
    """The exemplars of this process, and how all processes share theirs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.latest: dict[Key, Exemplar] = {}
        self.is_written = True

    def add(self, exemplar: Exemplar) -> None:
        """Keep an exemplar instead of the one before in its bucket."""
        self.latest[exemplar.key] = exemplar
        self.is_written = False

    def write(self) -> None:
        """Write the exemplars to the file of this process if there are new ones. Raise OSError."""
        if not self.is_written:
            self.is_written = True
            try:
                write_whole(file_of(self.folder, os.getpid()), msgspec.msgpack.encode(list(self.latest.values())))
            except OSError:
                self.is_written = False
                raise

    def of_all_processes(self) -> Mapping[Key, Exemplar]:
        """Return the latest exemplar of each bucket. Those of other processes are as old as their last heartbeat."""
        found: dict[Key, Exemplar] = {}
        for exemplar in [*self.written(), *list(self.latest.values())]:
            known = found.get(exemplar.key)
            if known is None or known.timestamp <= exemplar.timestamp:
                found[exemplar.key] = exemplar
        return found

    def written(self) -> Iterator[Exemplar]:
        """Yield what is in the files of all processes."""
        for path in self.folder.glob(f"{PREFIX}*{SUFFIX}"):
            with suppress(OSError):  # its process has ended
                yield from DECODER.decode(path.read_bytes())

    def remove(self, pid: int) -> None:
        """Remove the file of a process that has ended."""
        file_of(self.folder, pid).unlink(missing_ok=True)


def file_of(folder: Path, pid: int) -> Path:
    """Return the file of a process."""
    return folder / f"{PREFIX}{pid}{SUFFIX}"
