"""Who may come in: the queue's bound, and deadlines that cannot be met. Time is the event loop's."""

import asyncio
import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from service import metrics
from service.errors import DeadlineExceeded, Overloaded

MEMORY = 0.1  # the weight of the newest measurement in the running mean
LONGEST_RETRY_S = 60


class DeviceTime:
    """How long the workers take for an image, as a running mean. Seconds of device time per image."""

    def __init__(self) -> None:
        self.per_image_s: float | None = None

    def record(self, infer_s: float, batch_size: int) -> None:
        """A batch of that size took so long."""
        new = infer_s / batch_size
        self.per_image_s = new if self.per_image_s is None else (1 - MEMORY) * self.per_image_s + MEMORY * new

    def wait_s(self, images: int, workers: int) -> float:
        """How long so many images take; 0 as long as nothing was measured."""
        return images * (self.per_image_s or 0.0) / max(1, workers)


class Admission:
    """Counts the images in work in this frontend, and refuses what would not be served in time."""

    def __init__(self, *, max_queue: int) -> None:
        self.max_queue = max_queue
        metrics.in_flight_limit(max_queue)
        self.waiting: Counter[str] = Counter()  # images in work, by model
        self.device_times: defaultdict[str, DeviceTime] = defaultdict(
            DeviceTime
        )  # by model: a mask takes far longer than a class
        self.preparing = 0  # of those in flight, not sent to a worker yet

    @property
    def in_flight(self) -> int:
        """Images in work."""
        return self.waiting.total()

    @contextmanager
    def admitted(self, images: int, *, model: str = "", deadline: float, workers: int) -> Iterator[None]:
        """The time in which so many images of a model are in work. Raises Overloaded, DeadlineExceeded."""
        self.check(images, deadline=deadline, workers=workers)
        self.count(model, images)
        try:
            yield
        finally:
            self.count(model, -images)

    def check(self, images: int, *, deadline: float, workers: int) -> None:
        """Refuses at once what cannot be done, rather than after a wait."""
        wait_s = sum(self.device_times[model].wait_s(count, workers) for model, count in self.waiting.items())
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

    def count(self, model: str, images: int) -> None:
        """So many more, or fewer, are in work."""
        self.waiting[model] += images
        metrics.in_flight(self.in_flight)

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """The time in which an image is decoded and preprocessed: workers are told how many more to expect."""
        self.preparing += 1
        try:
            yield
        finally:
            self.preparing -= 1


def retry_after_s(wait_s: float) -> int:
    """Whole seconds until what waits now is done."""
    return min(LONGEST_RETRY_S, max(1, math.ceil(wait_s)))
