"""Rejects calls that exceed the queue or whose deadline cannot be met. Times are those of the event loop."""

import asyncio
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from service import metrics
from service.errors import DeadlineExceeded, Overloaded

NEWEST_WEIGHT = 0.1  # of the newest measurement in the running mean
LONGEST_RETRY_S = 60
REMOTE_QUEUE_S = 2.0  # how long the queue lengths in an answer are used


class MeanTime:
    """The running mean of the time that a step takes for an image, in seconds."""

    def __init__(self) -> None:
        self.per_image_s: float | None = None
        self.batch_s = 0.0  # of the latest batch

    def record(self, duration_s: float, images: int) -> None:
        """Record the time that some images took together."""
        new, self.batch_s = duration_s / images, duration_s
        old = new if self.per_image_s is None else self.per_image_s
        self.per_image_s = (1 - NEWEST_WEIGHT) * old + NEWEST_WEIGHT * new

    def wait_s(self, images: int, parallel: int) -> float:
        """Return how long `images` take with `parallel` threads or workers; 0 before the first measurement."""
        return images * (self.per_image_s or 0.0) / max(1, parallel)


class Admission:
    """Counts the images in flight in this frontend, and rejects calls that would not be answered in time."""

    def __init__(self, *, max_queue: int, decode_threads: int = 1) -> None:
        self.max_queue, self.decode_threads = max_queue, decode_threads
        metrics.in_flight_limit(max_queue)
        self.waiting: Counter[str] = Counter()  # images in flight, by model
        self.model_idle = asyncio.Event()  # replaced whenever a model has no image in flight
        self.device_times: defaultdict[str, MeanTime] = defaultdict(MeanTime)  # by model: they differ widely
        self.prepare_time = MeanTime()  # of decoding and preprocessing
        self.remote_queues: dict[str, tuple[Mapping[str, int], float]] = {}  # by worker, with the time of the report
        self.preparing = 0  # images in flight that have not been decoded and preprocessed yet

    @property
    def in_flight(self) -> int:
        """Return the number of images in flight."""
        return self.waiting.total()

    @contextmanager
    def admitted(self, images: int, *, model: str = "", deadline: float, workers: int) -> Iterator[None]:
        """Count images of a model as in flight during the block. Raise Overloaded, DeadlineExceeded."""
        self.check(images, model=model, deadline=deadline, workers=workers)
        self.count(model, images)
        try:
            yield
        finally:
            self.count(model, -images)

    def check(self, images: int, *, model: str = "", deadline: float, workers: int) -> None:
        """Raise Overloaded if the queue is full, and DeadlineExceeded if the deadline cannot be met."""
        self.check_room(images, workers=workers)
        wait_s = self.decode_wait_s() + self.turn_wait_s(model, workers)
        left_s = deadline - asyncio.get_running_loop().time()
        if wait_s > left_s:
            raise DeadlineExceeded(
                f"about {wait_s:.1f} s of work are waiting; the deadline is in {max(left_s, 0):.1f} s"
            )

    def check_room(self, images: int, *, workers: int) -> None:
        """Raise Overloaded if the queue is too full for so many images."""
        if self.in_flight + images > self.max_queue:
            raise Overloaded(
                f"{self.in_flight} images are waiting; the limit is {self.max_queue}",
                retry_after_s=retry_after_s(self.decode_wait_s() + sum(self.device_waits_s(workers).values())),
            )

    def decode_wait_s(self) -> float:
        """Return the estimated time until every image that waits for a thread has been decoded and preprocessed."""
        return self.prepare_time.wait_s(self.preparing, self.decode_threads)

    def turn_wait_s(self, model: str, workers: int) -> float:
        """Return the estimated time that a new image of a model waits for the device.

        Models take turns of equal device time. So another model takes at most as long as this model's own images do,
        or one batch.
        """
        waits_s = self.device_waits_s(workers)
        own_s = waits_s.pop(model, 0.0)
        return own_s + sum(
            min(wait_s, max(own_s, self.device_times[other].batch_s)) for other, wait_s in waits_s.items()
        )

    def device_waits_s(self, workers: int) -> dict[str, float]:
        """Return the estimated device time of all images that are in flight, by model."""
        images = self.waiting + self.remote_queue()
        return {model: self.device_times[model].wait_s(count, workers) for model, count in images.items()}

    def record_remote_queue(self, worker: str, counts: Mapping[str, int]) -> None:
        """Record how many samples of other frontends wait in a worker, by model. Each of its answers reports them."""
        self.remote_queues[worker] = counts, asyncio.get_running_loop().time()

    def remote_queue(self) -> Counter[str]:
        """Return how many samples of other frontends wait, by model, according to recent answers."""
        oldest = asyncio.get_running_loop().time() - REMOTE_QUEUE_S
        self.remote_queues = {
            worker: (counts, at) for worker, (counts, at) in self.remote_queues.items() if at > oldest
        }
        return sum((Counter(counts) for counts, _ in self.remote_queues.values()), Counter())

    def count(self, model: str, images: int) -> None:
        """Change the number of images in flight."""
        self.waiting[model] += images
        metrics.in_flight(self.in_flight)
        if not self.waiting[model]:
            self.model_idle.set()
            self.model_idle = asyncio.Event()

    async def wait_until_idle(self, model: str) -> None:
        """Return when no image of a model is in flight."""
        while self.waiting[model]:
            await self.model_idle.wait()

    @contextmanager
    def preparation(self) -> Iterator[None]:
        """Count an image as not prepared yet. Workers get the number of these images."""
        self.preparing += 1
        try:
            yield
        finally:
            self.preparing -= 1


def retry_after_s(wait_s: float) -> int:
    """Return the whole number of seconds after which a client should try again."""
    return min(LONGEST_RETRY_S, max(1, math.ceil(wait_s)))
