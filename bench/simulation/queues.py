"""What waits for a device in the simulation: the batches are those of `service.core.batcher`.

`tests/bench/simulation/test_queues.py` runs both on the same arrivals. Priorities and `--max-delay-ms`, which are not
used by default, are left out.
"""

import math
from collections import deque
from dataclasses import dataclass

import simpy

from service.core.batcher import Turns


@dataclass(slots=True)
class Image:
    """An image on its way. Times are those of the simulation, in seconds."""

    model: int
    frontend: int
    sent: float  # first, to a worker
    expires: float = math.inf
    crashes: int = 0  # of workers that were running it


class Queue:
    """The images that wait for one device, or for the first idle one of several."""

    def __init__(self, *, models: int, max_batch: int) -> None:
        self.by_model: list[deque[Image]] = [deque() for _ in range(models)]
        self.max_batch = max_batch
        self.turns = Turns() if models > 1 else None  # one model has every turn
        self.running: list[int] = []  # the models of the batches that run
        self.idle: list[simpy.Event] = []  # of workers that wait for an image

    def add(self, image: Image) -> None:
        """Queue an image, and wake a worker that waits for one."""
        if self.turns is not None:
            self.turns.join(image.model)
        self.by_model[image.model].append(image)
        if self.idle:
            self.idle.pop(0).succeed()

    @property
    def waiting(self) -> dict[int, float]:
        """Return the models that wait, each with the time at which its first image was sent."""
        return {model: queue[0].sent for model, queue in enumerate(self.by_model) if queue}

    def __bool__(self) -> bool:
        return any(self.by_model)

    def take(self, now: float) -> tuple[list[Image], list[Image]]:
        """Return the next batch, which may be empty, and the images that have expired meanwhile."""
        if not self:  # another worker was faster
            return [], []
        model = self.turns.choose(self.waiting) if self.turns is not None else 0
        queue, batch, expired = self.by_model[model], list[Image](), list[Image]()
        while queue and len(batch) < self.max_batch:
            image = queue.popleft()
            (expired if image.expires <= now else batch).append(image)
        if batch and self.turns is not None:
            self.turns.start(model, waiting={*self.waiting, *self.running})
            self.running.append(model)
        return batch, expired

    def ended(self, model: int, duration_s: float) -> None:
        """Note that a batch of a model has ended."""
        if self.turns is not None:
            self.running.remove(model)
            self.turns.end(model, duration_s)

    def clear(self) -> list[Image]:
        """Return all images, which wait no longer."""
        found = [image for queue in self.by_model for image in queue]
        for queue in self.by_model:
            queue.clear()
        return found
