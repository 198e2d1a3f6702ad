"""Follows files that change while the service runs, such as keys and certificates."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from service import logs
from service.settings import SettingsError

EVERY_S = 1.0

Mark = tuple[int, int, int] | None
"""What changes with the content of a file: its time in nanoseconds, its size and its inode. None: it is not there."""

Content = TypeVar("Content")

log = logs.get()


class FollowedFiles(Generic[Content]):
    """Files that are read again when they change. Create it before they are first read, so that no change is missed.

    `read` runs in a thread, since a file system may hang. It raises OSError or SettingsError. `problem` is what the log
    says then.
    """

    def __init__(self, *paths: Path, read: Callable[[], Content], problem: str) -> None:
        self.paths, self.read, self.problem = paths, read, problem
        self.seen: list[Mark] | None = self.marks()  # of the content in use; None: it was never read
        self.last = ""

    def marks(self) -> list[Mark]:
        """Return what the files look like now."""
        return [mark_of(path) for path in self.paths]

    def retry(self, error: Exception) -> None:
        """Read the files again although they have not changed, since the first reading failed, as was logged."""
        self.seen, self.last = None, str(error)

    def read_changed(self) -> tuple[list[Mark], Content] | None:
        """Return the content and what the files looked like before it was read, or None if they have not changed."""
        marks = self.marks()
        return None if marks == self.seen else (marks, self.read())

    async def update(self, apply: Callable[[Content], None]) -> None:
        """Read the files if they have changed, and apply their content, which may raise OSError.

        What fails is tried again the next time, also if the files stay as they are, since the reason may be a lack of
        descriptors. It is logged when the error changes.
        """
        try:
            if found := await asyncio.to_thread(self.read_changed):
                marks, content = found
                apply(content)
                self.seen = marks
        except (OSError, SettingsError) as error:
            if str(error) != self.last:
                log.error(self.problem, detail=str(error))
            self.last = str(error)
        else:
            self.last = ""

    async def follow(self, apply: Callable[[Content], None], *, every_s: float = EVERY_S) -> None:
        """Apply every change, until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            await self.update(apply)


def mark_of(path: Path) -> Mark:
    """Return what a file looks like now. A symbolic link stands for its target, which may be another one later."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
