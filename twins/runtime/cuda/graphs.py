"""Records the kernels of a network as graphs, one for each layout and batch size that comes often.

A graph is submitted at once, while its kernels one by one would take the processor longer than the device. It holds for
one shape: a batch is padded to the next size, and each image of a batch is computed by itself, so that its answer stays
the same.

Legend: B batch
"""

import logging
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from twins.runtime.cuda.streams import Graph, Streams
from twins.tasks.sample import Layout

log = logging.getLogger(__name__)

MAX_GRAPHS = 32
"""The largest number of graphs of a model. Each keeps its input and output on the device."""

REPEATS = 8
"""How often a layout and size must come before it gets a graph, whose recording takes as long as several batches."""

MAX_COUNTED = 1024  # layouts and sizes whose batches are counted; the counts start again after that

Key = tuple[Layout, int]


@dataclass(frozen=True)
class Recorded:
    """A graph, its input (the size's B …) and its output."""

    graph: Graph
    pixels: Tensor
    output: Tensor


class Graphs:
    """The graphs of a model."""

    def __init__(self, streams: Streams, forward: Callable[[Tensor, Layout], Tensor]) -> None:
        """`forward` returns the output for a batch of pixels."""
        self.streams, self.forward = streams, forward
        self.sizes: list[int] = []  # of the batches that graphs are recorded for
        self.recorded: dict[Key, Recorded | None] = {}  # None: it cannot be recorded
        self.counts: Counter[Key] = Counter()

    def prepare(self, layout: Layout, size: int) -> None:
        """Record the graph for a layout and size. Batches of other layouts are padded to such a size too."""
        if size not in self.sizes:
            insort(self.sizes, size)
        if (layout, size) not in self.recorded:
            self.recorded[layout, size] = self.record(layout, size)

    def run(self, pixels: Tensor, layout: Layout) -> Tensor:
        """Return the output for a batch: from its graph, or kernel by kernel if it has none.

        The output of a graph is overwritten by its next batch. Call it inside `Streams.forward`.
        """
        recorded = self.find(layout, len(pixels))
        if recorded is None:
            return self.forward(pixels, layout)
        recorded.pixels[: len(pixels)].copy_(pixels)
        recorded.graph.replay()
        return recorded.output[: len(pixels)]

    def find(self, layout: Layout, count: int) -> Recorded | None:
        """Return the graph for a batch, recorded now if such batches have come often enough."""
        size = self.padded(count)
        if size is None:
            return None
        key = (layout, size)
        if key not in self.recorded and self.is_due(key):
            self.recorded[key] = self.record(layout, size)
        return self.recorded.get(key)

    def padded(self, count: int) -> int | None:
        """Return the size to which a batch is padded; None if it is larger than all sizes."""
        index = bisect_left(self.sizes, count)
        return self.sizes[index] if index < len(self.sizes) else None

    def is_due(self, key: Key) -> bool:
        """Count a batch without a graph. Return whether it should have one."""
        if len(self.counts) >= MAX_COUNTED:
            self.counts.clear()
        self.counts[key] += 1
        return self.counts[key] >= REPEATS and len(self.recorded) < MAX_GRAPHS

    def record(self, layout: Layout, size: int) -> Recorded | None:
        """Return a graph for a layout and size, or None if it cannot be recorded, for lack of memory for example.

        If the cause is a device that is lost, the batch fails without a graph as well, and that error is reported.
        """
        _, dtype, shape = layout
        try:
            pixels = torch.zeros((size, *shape), dtype=TYPES[dtype], device=self.streams.device)
            for _ in range(WARM_UPS):
                self.forward(pixels, layout)
            graph, output = self.streams.capture(lambda: self.forward(pixels, layout))
        except RuntimeError as error:  # the type of all of PyTorch's errors here
            log.warning("batches of %d images %s run without a graph: %s", size, shape, str(error).partition("\n")[0])
            return None
        return Recorded(graph, pixels, output)


TYPES = {"|u1": torch.uint8, "<f4": torch.float32}
"""The types of pixels, by NumPy's name."""

WARM_UPS = 2
"""Runs before a recording: libraries allocate and choose algorithms in the first ones, which cannot be recorded."""
