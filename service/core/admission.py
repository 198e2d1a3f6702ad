"""Refuses calls that exceed the queue or whose deadline cannot be met. Time is the event loop's."""

import asyncio
import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from service import metrics
from service.errors import DeadlineExceeded, Overloaded

NEWEST_WEIGHT = 0.1  # of the newest measurement in the running mean
LONGEST_RETRY_S = 60


class MeanTime:
    """The running mean of the time that a step takes for an image, in seconds."""

    def __init__(self) -> None:
        self.per_image_s: float | None = None

    def record(self, duration_s: float, images: int) -> None:
        """Record that so many images together took so long."""
        new = duration_s / images
        old = new if self.per_image_s is None else self.per_image_s
        self.per_image_s = (1 - NEWEST_WEIGHT) * old + NEWEST_WEIGHT * new

    def wait_s(self, images: int, parallel: int) -> float:
        """Return how long so many images take with so many threads or workers; 0 before the first measurement."""
        return images * (self.per_image_s or 0.0) / max(1, parallel)


class Admission:
    """Counts the images that are in flight in this frontend, and refuses those that would not be served in time."""

    def __init__(self, *, max_queue: int, decode_threads: int = 1) -> None:
        self.max_queue, self.decode_threads = max_queue, decode_threads
        metrics.in_flight_limit(max_queue)
        self.waiting: Counter[str] = Counter()  # images in flight, by model
        self.device_times: defaultdict[str, MeanTime] = defaultdict(MeanTime)  # by model: they differ widely
        self.prepare_time = MeanTime()  # of decoding and preprocessing
        self.preparing = 0  # images in flight that have not been decoded and preprocessed yet

    @property
    def in_flight(self) -> int:
        """Return the number of images in flight."""
        return self.waiting.total()

    @contextmanager
    def admitted(self, images: int, *, model: str = "", deadline: float, workers: int) -> Iterator[None]:
        """Count images of a model as in flight meanwhile. Raise Overloaded, DeadlineExceeded."""
        self.check(images, deadline=deadline, workers=workers)
        self.count(model, images)
        try:
            yield
        finally:
            self.count(model, -images)

    def check(self, images: int, *, deadline: float, workers: int) -> None:
        """Refuse at once what could not be done later. Raise Overloaded, DeadlineExceeded."""
        wait_s = self.wait_s(workers)
        if self.in_flight + images > self.max_queue:
            raise Overloaded(
                f"{self.in_flight} images are waiting; at most {self.max_queue} may",
                retry_after_s=retry_after_s(wait_s),
            )
        left_s = deadline - asyncio.get_running_loop().time()
        if wait_s > left_s:
            raise DeadlineExceeded(
                f"about {wait_s:.1f} s of work are waiting; the deadline is in {max(left_s, 0):.1f} s"
            )

    def wait_s(self, workers: int) -> float:
        """Return the estimated time until everything that waits now has been decoded and has run."""
        decode_s = self.prepare_time.wait_s(self.preparing, self.decode_threads)
        return decode_s + sum(self.device_times[model].wait_s(count, workers) for model, count in self.waiting.items())

    def count(self, model: str, images: int) -> None:
        """Change the number of images in flight."""
        self.waiting[model] += images
        metrics.in_flight(self.in_flight)

    @contextmanager
    def preparation(self) -> Iterator[None]:
        """Count an image as not prepared yet. The workers are told how many of those there are."""
        self.preparing += 1
        try:
            yield
        finally:
            self.preparing -= 1


def retry_after_s(wait_s: float) -> int:
    """Return the whole seconds after which a client should try again."""
    return min(LONGEST_RETRY_S, max(1, math.ceil(wait_s)))
