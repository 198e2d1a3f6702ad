"""Host buffers for copies from and to a device, which are used again and again."""

from collections import deque
from collections.abc import Callable

from torch import Tensor

MOST_KEPT_BYTES = 2**28  # page-locked memory is lost to all other processes


class HostBuffers:
    """Buffers of one direction. Their number is that of the batches in flight, and each grows to the largest batch.

    A buffer may be taken in one thread and returned in another.
    """

    def __init__(self, allocate: Callable[[int], Tensor]) -> None:
        self.allocate = allocate
        self.free: deque[Tensor] = deque()

    def take(self, size: int) -> Tensor:
        """Return a buffer of at least this many bytes, which nobody else uses until it is returned."""
        found = self.free.popleft() if self.free else None
        if found is None or len(found) < size:
            return self.allocate(1 << (size - 1).bit_length())  # a smaller one is dropped
        return found

    def put_back(self, buffer: Tensor) -> None:
        """Return a buffer. No copy may be reading or writing it. One for unusually large batches is dropped."""
        if len(buffer) <= MOST_KEPT_BYTES:
            self.free.append(buffer)
