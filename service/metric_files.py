"""The memory-mapped files that hold the metrics of this process, and their restoration after deletion."""

import os
from contextlib import suppress
from pathlib import Path

DELETED = " (deleted)"  # what Linux appends to the name of an open file that has no name any more
OPEN_FILES = Path("/proc/self/fd")


class Generation:
    """The name of this process in the names of its files: its process id.

    Two generations are unequal though their names are the same. prometheus_client opens its files again when the name
    of the process changes.
    """

    def __str__(self) -> str:
        return str(os.getpid())


class MetricFiles:
    """The files of this process in the folder of all processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.generation = Generation()
        self.known: set[str] = set()

    def restore(self) -> None:
        """Write the files again that have been deleted since the last call, with all that they held."""
        present = {path.name for path in self.folder.glob(f"*_{self.generation}.db")}
        if self.known <= present:
            self.known = present
            return
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for descriptor in OPEN_FILES.iterdir():
            self.copy_if_deleted(descriptor)
        self.generation = Generation()

    def copy_if_deleted(self, descriptor: Path) -> None:
        """Restore an open metric file under its name if it was deleted."""
        try:
            name = str(descriptor.readlink())
        except FileNotFoundError:  # the descriptor that listed the folder
            return
        path = Path(name.removesuffix(DELETED))
        if name.endswith(DELETED) and path.parent == self.folder:
            write_whole(path, descriptor.read_bytes())


def write_whole(path: Path, data: bytes) -> None:
    """Write a file under its name, completely or not at all. Raise OSError."""
    part = path.with_suffix(".part")  # readers never see a file that is half written
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
