"""A backend for most networks, and another one for those that it cannot run."""

from collections.abc import Callable, Mapping
from functools import cached_property

from twins.errors import NetworkUnsupported
from twins.running import BackendName
from twins.runtime.backend import Backend, Device, Model
from twins.zoo.models import ModelReference


class FallbackBackend:
    """Two backends on one device. The second one is opened when a network needs it."""

    def __init__(self, first: Backend, open_second: Callable[[], Backend]) -> None:
        self.first, self.open_second = first, open_second

    @property
    def name(self) -> BackendName:
        """Return the name of the first backend. The card of a model has that of its own."""
        return self.first.name

    @property
    def device(self) -> Device:
        """Return the device as the first backend sees it."""
        return self.first.device

    @cached_property
    def second(self) -> Backend:
        """Return the second backend."""
        return self.open_second()

    def load(self, reference: ModelReference) -> Model:
        """Load a model onto the first backend that runs its network. Raise TwinsError."""
        try:
            return self.first.load(reference)
        except NetworkUnsupported:
            return self.second.load(reference)

    def memory_bytes(self) -> Mapping[str, int]:
        """Return what the first backend counts."""
        return self.first.memory_bytes()
