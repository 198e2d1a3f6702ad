"""Bounds the memory that unanswered calls take in this process.

Every call has an account. It ends when the call and the last thread that works for it have ended, and whatever is still
reserved then is released. Event loop and threads may use an account at the same time.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from service.errors import Cancelled, Overloaded, TooLarge

RETRY_AFTER_S = 1
SPARE_SHARE = 0.25  # of the limit, which large images leave to small ones while several of them are decoded


class MemoryBudget:
    """The bytes that all calls together may reserve."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.reserved_bytes = 0
        self.running = 0  # threads that hold working memory, which they release soon
        self.running_large = 0  # of these, the ones that work on large images
        self.changed = threading.Condition()

    def open(self) -> "MemoryAccount":
        """Return an account for a new call. Use it in a `with` statement."""
        return MemoryAccount(self)

    def fits(self, size_bytes: int) -> bool:
        """Return whether so many more bytes are within the limit."""
        return self.reserved_bytes + size_bytes <= self.limit_bytes

    def waits(self, size_bytes: int, *, large: bool) -> bool:
        """Return whether a thread should wait for others. Large images together leave a part to small ones."""
        spare = int(SPARE_SHARE * self.limit_bytes) if large and self.running_large else 0
        return self.running > 0 and not self.fits(size_bytes + spare)

    def check(self, size_bytes: int, own_bytes: int) -> None:
        """Raise TooLarge for a call that exceeds the limit even alone, Overloaded for what cannot be reserved now."""
        if self.fits(size_bytes):
            return
        if size_bytes > self.limit_bytes or self.reserved_bytes == own_bytes:
            needed = own_bytes + size_bytes
            raise TooLarge(f"the request needs {needed} bytes of memory; the limit is {self.limit_bytes}")
        raise Overloaded(f"requests hold {self.reserved_bytes} bytes of memory", retry_after_s=RETRY_AFTER_S)


class MemoryAccount:
    """The bytes that one call has reserved."""

    def __init__(self, budget: MemoryBudget) -> None:
        self.budget = budget
        self.size_bytes = 0
        self.users = 0
        self.ended = False

    @property
    def in_threads(self) -> bool:
        """Return whether threads work for the call, which may have ended."""
        return self.users > (0 if self.ended else 1)

    def __enter__(self) -> Self:
        self.users += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self.budget.changed:
            self.ended = True
            self.release_if_unused()

    def reserve(self, size_bytes: int) -> None:
        """Reserve memory that is about to be allocated. Raise Overloaded, TooLarge, or Cancelled if the call has ended.

        Overloaded and TooLarge say that the limit would be exceeded.
        """
        with self.budget.changed:
            self.check_used()
            self.budget.check(size_bytes, self.size_bytes)
            self.add(size_bytes)

    def count(self, size_bytes: int) -> None:
        """Count memory that exists already, even beyond the limit. Further reservations are then refused.

        Raise Cancelled if the call has ended, since nothing would release the memory again.
        """
        with self.budget.changed:
            self.check_used()
            self.add(size_bytes)

    def release(self, size_bytes: int) -> None:
        """Return a part of what was reserved or counted, unless the account has returned everything already."""
        with self.budget.changed:
            if self.users:
                self.add(-size_bytes)

    @contextmanager
    def in_thread(self) -> Iterator[None]:
        """Keep the account open while a thread works for the call. Raise Cancelled if the call has ended already."""
        with self.budget.changed:
            if self.ended:
                raise Cancelled("the call ended before a thread took it")
            self.users += 1
        try:
            yield
        finally:
            with self.budget.changed:
                self.release_if_unused()

    @contextmanager
    def working(self, size_bytes: int, *, large: bool = False) -> Iterator[None]:
        """Reserve what a thread needs for the moment; block the thread while others hold memory that they release soon.

        A thread must not nest this. Raise Overloaded, TooLarge, or Cancelled if the call ends meanwhile.
        """
        budget = self.budget
        with budget.changed:
            while budget.waits(size_bytes, large=large) and not self.ended:
                budget.changed.wait()
            if self.ended:
                raise Cancelled("the call ended while it waited for memory")
            budget.check(size_bytes, self.size_bytes)
            self.add(size_bytes)
            budget.running += 1
            budget.running_large += large
        try:
            yield
        finally:
            with budget.changed:
                budget.running -= 1
                budget.running_large -= large
                self.add(-size_bytes)

    def check_used(self) -> None:
        """Raise Cancelled if the account has ended and has returned everything. The caller holds the lock."""
        if self.ended and not self.users:
            raise Cancelled("the call has ended")

    def add(self, size_bytes: int) -> None:
        """Change what is reserved. The caller holds the lock."""
        self.size_bytes += size_bytes
        self.budget.reserved_bytes += size_bytes
        self.budget.changed.notify_all()

    def release_if_unused(self) -> None:
        """Remove one user, and release everything after the last one. The caller holds the lock."""
        self.users -= 1
        if not self.users:
            self.add(-self.size_bytes)
        self.budget.changed.notify_all()
