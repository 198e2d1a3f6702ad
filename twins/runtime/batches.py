"""Run the batches of a model in parts if the device has too little memory, and remember which sizes fit.

This module only knows the `Model` protocol, so that all backends share it.
"""

import sys
from collections.abc import Sequence

from twins.card import Card
from twins.errors import DeviceOutOfMemory, NonFiniteOutput
from twins.runtime.backend import DeviceKind, Model
from twins.tasks import TASKS
from twins.tasks.sample import Layout, Output, Sample

SampleError = DeviceOutOfMemory | NonFiniteOutput
"""The errors of one sample of a batch while the other samples have outputs."""


class BatchRunner:
    """One loaded model and the batch sizes that its device has memory for."""

    def __init__(self, model: Model, kind: DeviceKind, *, max_batch: int | None = None) -> None:
        """Wrap a model. If `max_batch` is None, each task uses its own batch size for this kind of device."""
        self.model, self.kind, self.configured = model, kind, max_batch
        self.limit = sys.maxsize  # the largest size that fitted during the warm-up
        self.safe: dict[Layout, int] = {}  # the layouts whose batches did not fit, and the size that does

    @property
    def card(self) -> Card:
        """Return the card of the model."""
        return self.model.card

    @property
    def takes_long(self) -> bool:
        """Return whether one sample keeps the device busy for so long that its task has no larger batches."""
        return TASKS[self.card.task].max_batch[self.kind] == 1

    def max_batch(self, layout: Layout) -> int:
        """Return how many samples of that layout run together."""
        return min(self.largest(layout[0]), self.limit, self.safe.get(layout, self.limit))

    def largest(self, task: str) -> int:
        """Return how many samples of a task run together if the device has the memory."""
        return self.configured or TASKS[task].max_batch[self.kind]

    def sizes(self) -> list[int]:
        """Return the batch sizes to warm up: 1, 2, 4 and so on, and the largest."""
        largest = self.largest(self.card.task)
        return [*(2**power for power in range(largest.bit_length()) if 2**power < largest), largest]

    def warm_up(self, size: int) -> bool:
        """Run a blank batch; return whether it fits. If it does not, no batch is ever that large.

        Raise DeviceOutOfMemory if not even one sample fits.
        """
        try:
            self.model.warm_up(size)
        except DeviceOutOfMemory:
            if size == 1:
                raise
            self.limit = max(each for each in self.sizes() if each < size)
            return False
        return True

    def run(self, samples: Sequence[Sample]) -> list[Output | SampleError]:
        """Return an output or an error for each sample, in order; all samples have one layout. Raise DeviceLost."""
        layout = samples[0].layout
        size = self.max_batch(layout)
        found: list[Output | SampleError] = []
        blameless = True
        while len(found) < len(samples):
            part = samples[len(found) : len(found) + size]
            try:
                found += self.model.run(part)
            except DeviceOutOfMemory as error:
                if len(part) > 1:
                    size = len(part) // 2
                else:
                    found.append(error)
                    blameless = False
        # A sample that does not fit by itself says nothing of batches without it.
        if blameless and size < self.max_batch(layout):
            self.safe[layout] = size
        return found

    def unload(self) -> None:
        """Free the model's memory."""
        self.model.unload()
