"""Notices when files change, so that they are read again without a restart of the service."""

import os
from collections.abc import Iterable
from pathlib import Path

Stamp = tuple[int, int, int] | None
"""What differs between two versions of a file: its inode, size and time. None stands for a file that is not there."""


class Watched:
    """Files that may be replaced or written while the service runs."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths = tuple(paths)
        self.stamps = self.look()

    def changed(self) -> bool:
        """Return whether any file has changed since the last call, or since the start."""
        before, self.stamps = self.stamps, self.look()
        return self.stamps != before

    def look(self) -> tuple[Stamp, ...]:
        """Return the stamps of the files."""
        return tuple(map(stamp, self.paths))


def stamp(path: Path) -> Stamp:
    """Return the stamp of a file. It follows links, by which Kubernetes replaces the files of a secret."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
