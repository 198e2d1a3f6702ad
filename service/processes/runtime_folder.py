"""The private folder of one running service: the sockets between its processes, and its metric files.

It is in the directory for temporary files, which many hosts clean regularly. A lock on the folder prevents systemd from
deleting it. If another program deletes it, `restore` creates it again, and every process restores its own files. The
lock also shows which folders are abandoned, because the kernel releases it whenever the supervisor exits.
"""

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from service.settings import SettingsError

PREFIX = "twins-"
MARKER = "supervisor.pid"  # this file marks the folders of this program
MAX_PATH = 80  # characters; the system's limit is 107 for a socket, whose name follows
ATTEMPTS = 5


class RuntimeFolder:
    """A folder that this process has created and locked."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path, self.lock = path, lock
        self.fill()

    @property
    def metrics(self) -> Path:
        """Return the folder for the metric files of all processes."""
        return self.path / "metrics"

    def fill(self) -> None:
        """Create the metrics folder and the marker file if they are missing."""
        self.metrics.mkdir(exist_ok=True)
        if not (marker := self.path / MARKER).exists():
            marker.touch()
            with suppress(OSError):  # the disk is full, and the number is for people
                marker.write_text(f"{os.getpid()}\n", "ascii")

    def restore(self) -> None:
        """Create the folder again if it has been deleted. Raises OSError."""
        if not is_locked_by(self.lock, self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):  # a folder of another user cannot be locked, so it fails below
                self.path.mkdir(mode=0o700)
            lock = try_lock(self.path)
            if lock is None:
                raise PermissionError(f"{self.path} was deleted and cannot be created again")
            os.close(self.lock)
            self.lock = lock
        self.fill()

    def remove(self) -> None:
        """Delete the folder and release its lock."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.lock)


def create() -> RuntimeFolder:
    """Create a folder, and delete those of supervisors that were killed. Raises SettingsError."""
    try:
        remove_abandoned(Path(tempfile.gettempdir()))
        for _ in range(ATTEMPTS):  # another process that starts may take the lock first, and delete the folder
            path = Path(tempfile.mkdtemp(prefix=PREFIX))
            if (lock := try_lock(path)) is not None:
                break
        else:
            raise SettingsError(f"{path} cannot be locked; set TMPDIR to a local folder")
    except OSError as error:
        raise SettingsError(f"cannot create a folder for temporary files: {error.strerror or error}") from error
    if len(str(path)) > MAX_PATH:
        path.rmdir()
        os.close(lock)
        raise SettingsError(f"{path} is too long a path for sockets; set TMPDIR to a shorter one")
    return RuntimeFolder(path, lock)


def remove_abandoned(parent: Path) -> None:
    """Delete the folders of this user's services whose supervisor is gone."""
    for path in parent.glob(f"{PREFIX}*"):
        if (path / MARKER).is_file() and (lock := try_lock(path)) is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)


def try_lock(path: Path) -> int | None:
    """Lock a folder of this program and return the descriptor. Return None if the folder is foreign, locked or gone."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    with suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_uid == os.getuid() and is_locked_by(lock, path):
            return lock
    os.close(lock)
    return None


def is_locked_by(lock: int, path: Path) -> bool:
    """Return whether the descriptor is of the folder that is at this path now."""
    try:
        return os.path.samestat(os.fstat(lock), os.lstat(path))
    except FileNotFoundError:
        return False
