"""What an operator can order while the service runs: load and unload models, and choose a default version."""

from dataclasses import dataclass
from typing import Literal, Protocol

Action = Literal["index", "load", "unload", "default"]

VersionState = Literal["READY", "LOADING", "UNLOADING", "UNAVAILABLE"]
"""As in the index of the Open Inference Protocol."""


@dataclass(frozen=True)
class IndexEntry:
    """A version of a model that can be served."""

    name: str
    version: str
    state: VersionState
    reason: str = ""  # why it is unavailable
    default: bool = False  # whether it answers calls that name no version


@dataclass(frozen=True)
class Requested:
    """The order that a call has, for the log."""

    action: Action
    model: str
    version: str = ""


class Orders(Protocol):
    """Carries out the orders of operators."""

    async def carry_out(self, action: Action, name: str = "", version: str = "") -> tuple[IndexEntry, ...]:
        """Do what an order says, and return the entries of the model, or all entries for an index.

        Return when a model that is loaded answers calls, or when one that is unloaded gets no new ones. Without a
        version, `load` means the newest ones, and `unload` all. Raise ServiceError.
        """
