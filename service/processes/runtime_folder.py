"""The private folder of one running service: the sockets between its processes, and its metric files.

It lies below the directory for temporary files, which hosts clean. A lock on the folder keeps systemd from doing so.
Where another program deletes it nevertheless, `restore` makes it again, and every process puts its own files back.
The same lock shows whose folder is abandoned: the kernel releases it when the supervisor ends, however it ends.
"""

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from service.settings import SettingsError

PREFIX = "twins-"
OWNER = "supervisor.pid"  # this file marks the folders of this program
MAX_PATH = 80  # characters; the system's limit is 107 for a socket, whose name follows
ATTEMPTS = 5


class RuntimeFolder:
    """A folder that this process has created and holds the lock of."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path, self.lock = path, lock
        self.fill()

    @property
    def metrics(self) -> Path:
        """Return the folder for the metric files of all processes."""
        return self.path / "metrics"

    def fill(self) -> None:
        """Create what belongs into the folder from the start, where it is missing."""
        self.metrics.mkdir(exist_ok=True)
        if not (owner := self.path / OWNER).exists():
            owner.write_text(f"{os.getpid()}\n", "ascii")

    def restore(self) -> None:
        """Create the folder again if it has been deleted. Raises OSError."""
        if not is_locked_by(self.lock, self.path):
            with suppress(FileExistsError):  # one of another user fails below: it cannot be locked or written to
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
    """Create a folder, and delete those that supervisors which were killed have left. Raises SettingsError."""
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
        if (path / OWNER).is_file() and (lock := try_lock(path)) is not None:
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
