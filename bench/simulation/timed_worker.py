"""A recording worker whose device takes a given time for each batch and no processor, as a GPU does."""

import time
from collections.abc import Sequence

from bench.service.null_worker import NullBackend, NullModel
from bench.simulation.recording_worker import RecordingWorker
from service.processes.worker import start
from twins.errors import NonFiniteOutput
from twins.running import Running
from twins.runtime.backend import Backend, Device
from twins.tasks.sample import Output, Sample
from twins.zoo import loading
from twins.zoo.models import ModelReference

BATCH_S, IMAGE_S = 0.010, 0.005  # of a batch, and of each image in it


class TimedModel(NullModel):
    """A classifier that gives the same answer to every image, after the time of its batch."""

    def run(self, samples: Sequence[Sample]) -> list[Output | NonFiniteOutput]:
        """Return an output for each sample."""
        time.sleep(BATCH_S + IMAGE_S * len(samples))
        return super().run(samples)


class TimedBackend(NullBackend):
    """A backend without a library, which runs one batch at a time."""

    device = Device("timed", "cpu", 1)

    def load(self, reference: ModelReference) -> TimedModel:
        """Return a model with the card of the real one."""
        return TimedModel(loading.load(reference).card)


class TimedWorker(RecordingWorker):
    """A worker with a timed backend."""

    def open_backend(self, running: Running) -> Backend:  # noqa: ARG002
        """Return the timed backend."""
        return TimedBackend()


if __name__ == "__main__":
    start(TimedWorker)
