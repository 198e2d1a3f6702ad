"""A control group with little memory, in which the kernel kills a process that allocates more."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.server import wait_until

LIMIT_BYTES = 8 * 2**20  # of what a process allocates after it was added
ROOTS = {Path("/sys/fs/cgroup/memory"): "memory.limit_in_bytes", Path("/sys/fs/cgroup"): "memory.max"}
"""Where groups are in the versions 1 and 2 of the kernel's interface, and the file of the limit."""


@dataclass(frozen=True)
class Group:
    """A control group."""

    folder: Path

    def add(self, pid: int) -> None:
        """Limit what a process allocates from now on."""
        (self.folder / "cgroup.procs").write_text(str(pid))


def root() -> Path | None:
    """Return the folder in which this user may limit memory."""
    for folder, limit in ROOTS.items():
        if os.access(folder, os.W_OK) and ((folder / limit).exists() or has_memory(folder)):
            return folder
    return None


def has_memory(folder: Path) -> bool:
    """Return whether groups below a folder can have limits of memory."""
    control = folder / "cgroup.subtree_control"
    return control.exists() and "memory" in control.read_text()


def missing() -> str:
    """Say why no process can be limited."""
    return "" if root() else "control groups of memory that this user may change"


@contextmanager
def group() -> Iterator[Group]:
    """Yield a group that is removed when its processes have ended."""
    parent = root()
    assert parent is not None
    folder = parent / f"twins-soak-{os.getpid()}"
    folder.mkdir()
    try:
        (folder / ROOTS[parent]).write_text(str(LIMIT_BYTES))
        yield Group(folder)
    finally:
        wait_until(lambda: not (folder / "cgroup.procs").read_text().strip(), what="an empty group")
        folder.rmdir()
