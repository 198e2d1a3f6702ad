"""The interface to a library that runs networks on a device.

A backend holds one device. A model is what it loads there. Batches run in one thread, the one that opened the backend,
or each model in a thread of its own on a device that allows it; a model may be loaded in another thread meanwhile.
Importing this module loads no such library.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

from twins.card import Card
from twins.errors import DeviceError, NonFiniteOutput
from twins.running import BackendName
from twins.tasks.sample import Output, Sample
from twins.zoo.models import ModelReference

DeviceKind = Literal["cpu", "cuda"]

ErrorTable = tuple[tuple[type[Exception], str, type[DeviceError]], ...]
"""The errors of a library by type and message, with their neutral counterparts. The first match applies."""

NON_FINITE = "the network's output for this image is not finite; a checkpoint may need --precision float32"


@dataclass(frozen=True)
class Device:
    """The device of a backend."""

    name: str  # "cpu" or "cuda:0"
    kind: DeviceKind
    count: int  # devices of this kind on this machine
    any_thread: bool = False  # whether a model may be warmed up and run in any thread while the others run
    in_flight: int = 1  # batches that it holds at a time; more than one if uploads and downloads overlap with forwards


class InFlight(Protocol):
    """A batch on its way through a device."""

    def result(self) -> list[Output | NonFiniteOutput]:
        """Wait for the batch. Return an output or an error for each sample, in order; raise as `Model.run` does.

        It may be called in another thread than the device's, once.
        """


@dataclass(frozen=True)
class Finished:
    """A batch of a backend that runs one batch at a time."""

    outputs: list[Output | NonFiniteOutput]

    def result(self) -> list[Output | NonFiniteOutput]:
        """Return the outputs."""
        return self.outputs


class Model(Protocol):
    """A model on the device of a backend, ready to run."""

    @property
    def card(self) -> Card:
        """Return the card of the model."""

    def warm_up(self, batch_size: int) -> None:
        """Run a blank batch of that size, so that no client pays for the first one. Raise DeviceError."""

    def run(self, samples: Sequence[Sample]) -> list[Output | NonFiniteOutput]:
        """Return an output or an error for each sample, in order; all samples have one layout.

        Raise DeviceOutOfMemory if the batch is too large for the device, and DeviceLost.
        """

    def submit(self, samples: Sequence[Sample]) -> InFlight:
        """Start a batch, and return before it ends if the device holds several. Otherwise as `run`.

        The batches of a device end in the order in which they start.
        """

    def unload(self) -> None:
        """Free the memory of the model. It cannot run after that."""


class Backend(Protocol):
    """A library that runs networks, on one device."""

    @property
    def name(self) -> BackendName:
        """Return the name by which a user chooses this backend."""

    @property
    def device(self) -> Device:
        """Return the device of the backend."""

    def load(self, reference: ModelReference) -> Model:
        """Load a model onto the device. Raise TwinsError."""

    def memory_bytes(self) -> Mapping[str, int]:
        """Return the device's memory that this process uses, by kind; empty if the device does not count it."""


def device_error(error: Exception, table: ErrorTable) -> DeviceError | None:
    """Return what an error says about the device; None if it is about something else."""
    for kind, pattern, meaning in table:
        if isinstance(error, kind) and re.search(pattern, str(error)):
            return meaning(str(error).partition("\n")[0] or "out of memory")
    return None


@contextmanager
def device_errors(table: ErrorTable) -> Iterator[None]:
    """Raise the errors of a library about the device as DeviceError; others pass unchanged."""
    try:
        yield
    except Exception as error:
        if failure := device_error(error, table):
            raise failure from error
        raise
