"""What the kernel lets a process of the service do: core dumps, open files, memory, and its end with its parent."""

import ctypes
import resource
import signal
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4  # of Linux's prctl
MOST_OPEN_FILES = 2**20  # some libraries walk through all that a process may have


def forbid_core_dumps() -> None:
    """Write no memory to disk when the process crashes: it holds images of clients, and may hold API keys.

    The limit passes on to child processes. A program of the system that collects core dumps ignores it, and obeys the
    attribute, which each process has to set for itself.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    process_control(PR_SET_DUMPABLE, 0)


def raise_open_files() -> None:
    """Set the limit of open files, of which each connection is one, to the hard one. Child processes inherit this."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def bound_open_files(count: int) -> None:
    """Set how many files may be open."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))


def bound_memory(further_bytes: int) -> None:
    """Set how much memory may be mapped beyond what is mapped now."""
    with suppress(OSError):  # not on Linux
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
        most = pages * resource.getpagesize() + further_bytes
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def end_with_parent() -> None:
    """End the process when its parent ends."""
    process_control(PR_SET_PDEATHSIG, signal.SIGKILL)


def process_control(option: int, value: int) -> None:
    """Call prctl, which other systems than Linux do not have."""
    with suppress(AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
