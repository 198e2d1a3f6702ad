"""Keeps the list of models to serve, and computes what each worker must load or unload.

A model is announced when a worker has warmed it up. It is withdrawn in steps: first the frontends accept no new calls
for it and answer those in flight, then the workers unload it.
"""

from collections.abc import Iterable, Mapping

from service.ipc.messages import LoadModel, ModelStatus, UnloadModel
from twins.card import Card
from twins.zoo.models import ModelReference


class ServedModels:
    """The models of a service, all of them resolved. The first of a task is its default."""

    def __init__(self, references: Iterable[ModelReference]) -> None:
        self.wanted = {reference.name: reference for reference in references}
        self.draining: set[str] = set()
        self.cards: dict[str, Card] = {}

    @property
    def references(self) -> tuple[ModelReference, ...]:
        """Return what a new worker must load."""
        return tuple(self.wanted[name] for name in self.wanted if name not in self.draining)

    @property
    def announced(self) -> tuple[Card, ...]:
        """Return the cards of the models that accept calls. They stay while all workers restart."""
        return tuple(self.cards[name] for name in self.wanted if name in self.cards and name not in self.draining)

    def add(self, reference: ModelReference) -> None:
        """Add a model to serve. Its name must not be in use."""
        self.wanted[reference.name] = reference

    def drain(self, name: str) -> None:
        """Accept no new calls for a model."""
        if name in self.wanted:
            self.draining.add(name)

    def remove(self, name: str) -> None:
        """Remove a drained model after its last call is answered."""
        self.draining.discard(name)
        self.wanted.pop(name, None)
        self.cards.pop(name, None)

    def record(self, cards: Iterable[Card]) -> None:
        """Record the cards of the models that a worker has ready."""
        self.cards |= {card.name: card for card in cards if card.name in self.wanted}

    def seen_by_frontends(self, held: Mapping[str, ModelStatus]) -> tuple[ModelStatus, ...]:
        """Return the models of a worker as frontends see them. What is drained or another version is unloading."""
        return tuple(
            status if self.accepts_calls(status) else ModelStatus(status.name, status.version, "unloading")
            for status in held.values()
        )

    def accepts_calls(self, status: ModelStatus) -> bool:
        """Return whether calls may go to what a worker holds: the version that is served, and not draining."""
        return self.is_wanted(status) and status.name not in self.draining

    def is_wanted(self, status: ModelStatus) -> bool:
        """Return whether what a worker holds is the version that is served."""
        reference = self.wanted.get(status.name)
        return reference is not None and (reference.sha256 or "") == status.version

    def changes(self, held: Mapping[str, ModelStatus]) -> list[LoadModel | UnloadModel]:
        """Return the messages for a worker that holds these models. Models that it is changing get none."""
        loads = [LoadModel(reference) for reference in self.references if reference.name not in held]
        unchanging = [status for status in held.values() if status.state in ("ready", "failed")]
        return [*loads, *(UnloadModel(status.name) for status in unchanging if not self.is_wanted(status))]
