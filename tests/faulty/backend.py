"""A backend with faults in front of another backend, and one without a library to put behind it."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from tests.backends import card
from tests.faulty.faults import Faults
from twins.card import Card
from twins.errors import NonFiniteOutput
from twins.runtime.backend import Backend, Device, Finished, Model
from twins.tasks.sample import Output, Sample
from twins.zoo.models import ModelReference

LIGHT = 127.5  # the average value from which an image is light


class LightModel:
    """A classifier that distinguishes light and dark images."""

    def __init__(self, card: Card) -> None:
        self.card = card

    def warm_up(self, batch_size: int) -> None:
        """Do nothing: there is no network."""

    def run(self, samples: Sequence[Sample]) -> list[Output | NonFiniteOutput]:
        """Return both classes for each sample, the likely one first."""
        return [answer(sample.pixels.mean() > LIGHT) for sample in samples]

    def submit(self, samples: Sequence[Sample]) -> Finished:
        """Run a batch to its end."""
        return Finished(self.run(samples))

    def unload(self) -> None:
        """Do nothing: the model holds no memory."""


def answer(light: bool) -> Output:
    """Return the output for a light or a dark image."""
    order = (1, 0) if light else (0, 1)
    return Output((np.array(order, np.int32), np.array((1.0, 0.0), np.float32)))


class LightBackend:
    """A backend without a library."""

    name = "torch"

    def __init__(self, device: str) -> None:
        self.device = Device(device, "cuda", 1)  # with the batches of a GPU

    def load(self, reference: ModelReference) -> LightModel:
        """Return a model of that name."""
        return LightModel(replace(card(reference.name), version=reference.version, sha256=reference.sha256))

    def memory_bytes(self) -> Mapping[str, int]:
        """Return nothing: there is no device."""
        return {}


class FaultyModel:
    """A model with faults in front of it."""

    def __init__(self, model: Model, faults: Faults, batches: "itertools.count[int]") -> None:
        self.model, self.faults, self.batches = model, faults, batches

    @property
    def card(self) -> Card:
        """Return the card of the model."""
        return self.model.card

    def warm_up(self, batch_size: int) -> None:
        """Warm the model up, without faults."""
        self.model.warm_up(batch_size)

    def run(self, samples: Sequence[Sample]) -> list[Output | NonFiniteOutput]:
        """Fail, or run the batch."""
        self.faults.before_batch(samples, next(self.batches))
        return self.model.run(samples)

    def submit(self, samples: Sequence[Sample]) -> Finished:
        """Run a batch to its end."""
        return Finished(self.run(samples))

    def unload(self) -> None:
        """Free the memory of the model."""
        self.model.unload()


class FaultyBackend:
    """A backend with faults in front of it."""

    def __init__(self, backend: Backend, faults: Faults) -> None:
        self.backend, self.faults = backend, faults
        self.name, self.device = backend.name, replace(backend.device, in_flight=1)
        self.batches = itertools.count(1)  # of all models

    def load(self, reference: ModelReference) -> FaultyModel:
        """Fail, or load the model."""
        self.faults.before_load()
        return FaultyModel(self.backend.load(reference), self.faults, self.batches)

    def memory_bytes(self) -> Mapping[str, int]:
        """Return what the backend counts."""
        return self.backend.memory_bytes()
