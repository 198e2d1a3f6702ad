"""Where the values of the metrics of this process are: in memory-mapped files, or in memory while the disk is full.

Writing to a mapped file whose blocks are not allocated kills the process by SIGBUS if the disk is full. So all blocks
are allocated when a file is made or grows. If that fails, the values stay in memory until there is space again.
"""

import mmap
import os
import sys
import threading
from pathlib import Path
from typing import BinaryIO

from prometheus_client import mmap_dict

from service import logs
from service.metric_files import write_whole

SIZE = 1 << 16  # bytes of a new file, doubled whenever it is full
ENTRY_EXTRA = 64  # bytes of an entry beside its key, at most
USED = 8  # bytes of a file without values: the number of used bytes, and padding
HEADER = USED.to_bytes(USED, sys.byteorder)
EMPTY = HEADER.ljust(SIZE, b"\0")

log = logs.get()


class Storage(mmap_dict.MmapedDict):
    """The values of one file of prometheus_client, which opens it by this class."""

    in_memory: "set[Storage]" = set()  # noqa: RUF012 - of all storages of this process
    is_reported = False

    _f: BinaryIO | None  # type: ignore[assignment]
    _m: mmap.mmap | None  # type: ignore[assignment]

    def __init__(self, filename: str) -> None:
        self._fname, self._f, self._m = filename, None, None
        self.lock = threading.Lock()  # the library has one for all values, which `return_to_file` cannot take
        path = Path(filename)
        try:
            if not path.exists():
                write_whole(path, EMPTY)
            super().__init__(filename)  # type: ignore[no-untyped-call]
            assert self._f
            self._f.close()
            self._f = path.open("r+b")  # not for appending, which excludes the allocation of blocks
        except OSError:
            self.move_to_memory(SIZE)

    def read_value(self, key: str) -> tuple[float, float]:
        """Return a value and its time, after adding it if it is new."""
        with self.lock:
            value, timestamp = super().read_value(key)  # type: ignore[no-untyped-call]
        return value, timestamp

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        """Set a value."""
        with self.lock:
            super().write_value(key, value, timestamp)  # type: ignore[no-untyped-call]

    def _init_value(self, key: str) -> None:
        """Add a value, after making room for it."""
        capacity = self._capacity
        while self._used + len(key.encode()) + ENTRY_EXTRA > capacity:
            capacity *= 2
        if capacity > self._capacity:
            self.grow(capacity)
        super()._init_value(key)  # type: ignore[no-untyped-call]

    def grow(self, capacity: int) -> None:
        """Make the file larger, or the memory if that fails."""
        try:
            if self._f is None:
                raise OSError("in memory already")
            os.posix_fallocate(self._f.fileno(), 0, capacity)
            self._m, self._capacity = mmap.mmap(self._f.fileno(), capacity), capacity
        except OSError:
            self.move_to_memory(capacity)

    def move_to_memory(self, capacity: int) -> None:
        """Keep the values in memory from now on. The file, if there is one, keeps what it has."""
        memory = mmap.mmap(-1, capacity)
        if self._m is None:
            self._positions, self._used, memory[:USED] = {}, USED, HEADER
        else:
            memory[: self._capacity] = self._m[:]
        if self._f is not None:
            self._f.close()
        self._f, self._m, self._capacity = None, memory, capacity
        self.in_memory.add(self)

    def return_to_file(self) -> None:
        """Write the values to the file and use it again. Raise OSError if there still is no space."""
        path = Path(self._fname)
        with self.lock:  # a value that another thread added meanwhile would be missing, and the file unreadable
            assert self._m
            write_whole(path, self._m[:])
            self._f = path.open("r+b")
            self._m = mmap.mmap(self._f.fileno(), self._capacity)
            self.in_memory.discard(self)

    def close(self) -> None:
        """Close the file."""
        self.in_memory.discard(self)
        super().close()  # type: ignore[no-untyped-call]


def return_to_files() -> bool:
    """Write what is in memory to its files again. Return whether everything is in a file."""
    try:
        for storage in list(Storage.in_memory):
            storage.return_to_file()
    except OSError as error:
        if not Storage.is_reported:
            Storage.is_reported = True
            log.error("the metrics of this process stay in its memory until there is space", detail=str(error))
        return False
    if Storage.is_reported:
        Storage.is_reported = False
        log.info("the metrics of this process are in their files again")
    return True
