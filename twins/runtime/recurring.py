"""Make something for the keys that keep coming, in a background thread, and keep it for the last of them.

Knows nothing of networks: a key is anything hashable, and `make` is any function of a key.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

TIMES = 32  # that a key comes before something is made for it
MOST_KEYS = 256  # that are counted
MOST_MADE = 4  # that are kept: each may be as large as the weights of a model

log = logging.getLogger(__name__)

Key = TypeVar("Key", bound=Hashable)
Made = TypeVar("Made")


class Recurring(Generic[Key, Made]):
    """What was made for the keys that came often and last. All methods belong to one thread."""

    def __init__(self, make: Callable[[Key], Made]) -> None:
        """`make` runs in the background thread, once at a time."""
        self.make = make
        self.thread = ThreadPoolExecutor(1, "recurring")
        self.pending: tuple[Key, Future[Made]] | None = None
        self.counts: OrderedDict[Key, int] = OrderedDict()
        self.made: OrderedDict[Key, Made] = OrderedDict()

    def find(self, key: Key) -> Made | None:
        """Return what was made for a key; None if it did not come often enough, or nothing is ready yet."""
        self.collect()
        if key in self.made:
            self.made.move_to_end(key)
            return self.made[key]
        if self.count(key) >= TIMES and self.pending is None:
            del self.counts[key]
            self.pending = key, self.thread.submit(self.make, key)
        return None

    def count(self, key: Key) -> int:
        """Return how often a key has come."""
        self.counts[key] = self.counts.pop(key, 0) + 1
        if len(self.counts) > MOST_KEYS:
            self.counts.popitem(last=False)
        return self.counts[key]

    def collect(self) -> None:
        """Keep what is ready, and drop what was not asked for longest."""
        if self.pending is None or not self.pending[1].done():
            return
        (key, future), self.pending = self.pending, None
        if error := future.exception():
            log.warning("nothing could be made for %s: %s", key, error)
            return
        self.made[key] = future.result()
        if len(self.made) > MOST_MADE:
            self.made.popitem(last=False)

    def close(self) -> None:
        """Wait for the background thread, and drop everything."""
        self.thread.shutdown()
        self.pending = None
        self.made.clear()
