"""A backend without a library: its models answer immediately, on a device with a chosen amount of memory."""

import numpy as np

from twins.card import Card, Geometry, Label, Normalisation, TaskName
from twins.errors import DeviceOutOfMemory
from twins.runtime.backend import Device, Finished
from twins.tasks.classify import ClassifyParams
from twins.tasks.sample import Output, Sample


def card(name: str, task: TaskName = "classify") -> Card:
    """Return the card of a model that distinguishes light and dark images."""
    labels = (Label("dark"), Label("light"))
    return Card(name, task, "none", labels, Geometry(8, 8), Normalisation(), True, "tests", "none")


class FakeModel:
    """A model that returns the first value of each sample. It raises `fault` if set; `too_large` never fits."""

    def __init__(self, name: str, *, room: int = 64) -> None:
        self.card, self.room = card(name), room
        self.fault: Exception | None = None
        self.too_large: int | None = None
        self.tried: list[int] = []
        self.unloaded = False

    def warm_up(self, batch_size: int) -> None:
        self.run([sample(0)] * batch_size)

    def run(self, samples):
        self.tried.append(len(samples))
        values = [int(sample.pixels.flat[0]) for sample in samples]
        if self.fault is not None:
            raise self.fault
        if len(samples) > self.room or self.too_large in values:
            raise DeviceOutOfMemory("no room")
        return [Output((np.int64([value]),)) for value in values]

    def submit(self, samples):
        return Finished(self.run(samples))

    def unload(self) -> None:
        self.unloaded = True


class FakeBackend:
    """One device with models that a test made."""

    name = "torch"
    device = Device("fake", "cpu", 1)

    def __init__(self, *models: FakeModel) -> None:
        self.models = {model.card.name: model for model in models}

    def load(self, reference) -> FakeModel:
        return self.models[reference.name]

    def memory_bytes(self) -> dict[str, int]:
        return {}


def sample(value: int, *, side: int = 8) -> Sample:
    """Return a sample whose answer is `value`."""
    return Sample(np.full((side, side, 3), value, np.uint8), ClassifyParams())
