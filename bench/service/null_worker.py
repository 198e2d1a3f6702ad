"""A worker whose models answer at once, to measure what a request costs apart from the network."""

from collections.abc import Mapping, Sequence

import numpy as np

from service.processes.worker import Worker, start
from twins.card import Card
from twins.errors import NonFiniteOutput
from twins.running import BackendName, Running
from twins.runtime.backend import Backend, Device, Finished
from twins.tasks.sample import Output, Sample
from twins.zoo import loading
from twins.zoo.models import ModelReference

TOP_K = 5  # classes that a client gets by default


class NullModel:
    """A classifier that gives the same answer to every image."""

    def __init__(self, card: Card) -> None:
        self.card = card
        count = min(TOP_K, len(card.labels))
        self.output = Output((np.arange(count, dtype=np.int32), np.linspace(1, 0, count, dtype=np.float32)))

    def warm_up(self, batch_size: int) -> None:
        """Do nothing: there is no network."""

    def run(self, samples: Sequence[Sample]) -> list[Output | NonFiniteOutput]:
        """Return an output for each sample, after the copy to one array that every backend makes."""
        np.stack([sample.pixels for sample in samples])
        return [self.output for _ in samples]

    def submit(self, samples: Sequence[Sample]) -> Finished:
        """Run a batch to its end."""
        return Finished(self.run(samples))

    def unload(self) -> None:
        """Do nothing: the model holds no memory."""


class NullBackend:
    """A backend without a library."""

    name: BackendName = "torch"
    device = Device("null", "cuda", 1)  # with the batches of a GPU

    def load(self, reference: ModelReference) -> NullModel:
        """Return a model with the card of the real one."""
        return NullModel(loading.load(reference).card)

    def memory_bytes(self) -> Mapping[str, int]:
        """Return nothing: there is no device."""
        return {}


class NullWorker(Worker):
    """A worker with a null backend."""

    def open_backend(self, running: Running) -> Backend:  # noqa: ARG002
        """Return the null backend."""
        return NullBackend()


if __name__ == "__main__":
    start(NullWorker)
