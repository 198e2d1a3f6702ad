"""The division of threads and batches among the streams of OpenVINO, each of which runs one part of a batch.

Knows nothing of graphs: a program is a number of requests, one for each stream.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from twins.runtime.plan import Plan
from twins.tasks.sample import Sample

if TYPE_CHECKING:
    import openvino

Shape = tuple[int, ...]
Key = tuple[str, Shape | None]  # the type of a program's input, and its shape; None for any shape

Running = deque[tuple[Sequence[Sample], "openvino.InferRequest"]]
"""The parts of a batch that run, oldest first, each with its request."""

STRIDE = 4  # of the first map of the network

MOST_VALUES = 2**20  # of the first map of a part of a batch. Larger maps leave the processor's cache and run slower.
MOST_SMALL_VALUES = 2**17  # the same for a part that runs on one of several streams
MOST_STREAMS = 8  # each has memory of its own for what is between the layers


@dataclass(frozen=True)
class Streams:
    """Streams that share some threads, and the programs that are compiled for them."""

    count: int
    threads: int  # of all streams together; 0 means what OpenVINO takes
    most_values: int  # of the first map of a part of a batch
    programs: "dict[Key, Sequence[openvino.InferRequest]]" = field(default_factory=dict)
    """The requests of each program, one for each stream."""

    def largest_part(self, values: int) -> int:
        """Return how many samples run together, with so many values in their first map; 0 if not even one should."""
        return self.most_values // values

    def share(self, count: int) -> int:
        """Return how many of `count` samples a stream runs if all streams take as many."""
        return -(-count // self.count)

    def parts(self, samples: Sequence[Sample], values: int) -> Iterator[Sequence[Sample]]:
        """Yield the samples in parts: as large as a program of a fixed shape takes, or as large as is fast.

        `values` is the number of values in the first map of a sample.
        """
        rest, largest = samples, max(1, self.largest_part(values))
        while rest:
            most = min(self.share(len(rest)), largest)
            sizes = (size for size in range(most, 0, -1) if key_of(rest[:size]) in self.programs)
            size = next(sizes, most)
            yield rest[:size]
            rest = rest[size:]


def divide(plan: Plan) -> tuple[Streams, Streams]:
    """Return one stream with all threads, and the streams for small images, which the plan may not ask for.

    Several threads take more time of the processor in all for a small image than one thread does.
    """
    most_values = MOST_SMALL_VALUES if plan.small_threads else 0
    small = Streams(max(1, min(MOST_STREAMS, plan.small_threads)), plan.small_threads, most_values)
    return Streams(1, plan.threads, MOST_VALUES), small


@contextmanager
def ended() -> Iterator[Running]:
    """Yield a queue of parts that run. Wait for what is left in it after an error: a request that runs is locked."""
    running: Running = deque()
    try:
        yield running
    finally:
        for _, request in running:
            with suppress(RuntimeError):  # the first error is the one that counts
                request.wait()


def key_of(samples: Sequence[Sample]) -> Key:
    """Return the key of the program with a fixed shape for a batch."""
    pixels = samples[0].pixels
    return pixels.dtype.str, (len(samples), *pixels.shape)
