"""Notices that files have changed, such as keys that are replaced while the service runs."""

import asyncio
from collections.abc import Callable
from pathlib import Path

EVERY_S = 1.0

Mark = tuple[int, int, int] | None
"""What changes with the content of a file: its time in nanoseconds, its size and its inode. None: it is not there."""


class WatchedFiles:
    """Files whose changes are noticed from now on. Create it before the files are read, so that no change is missed."""

    def __init__(self, *paths: Path) -> None:
        self.paths = paths
        self.seen = self.marks()

    def marks(self) -> list[Mark]:
        """Return what the files look like now."""
        return [mark_of(path) for path in self.paths]

    def have_changed(self) -> bool:
        """Return whether any file has changed since the last call."""
        before, self.seen = self.seen, self.marks()
        return self.seen != before

    async def follow(self, on_change: Callable[[], None], *, every_s: float = EVERY_S) -> None:
        """Call a function after every change, until cancelled. It must not raise."""
        while True:
            await asyncio.sleep(every_s)
            if await asyncio.to_thread(self.have_changed):  # a file system that hangs must not stop the event loop
                on_change()


def mark_of(path: Path) -> Mark:
    """Return what a file looks like now. A symbolic link stands for its target, which may be another one later."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
