"""Keeps the list of models to serve, and computes what each worker must load or unload.

A model is announced when a worker has warmed it up. It is withdrawn in steps: first the frontends accept no new calls
for it and answer those in flight, then the workers unload it. Several versions of a model are served side by side.
"""

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from service.ipc.messages import LoadModel, ModelStatus, UnloadModel
from twins.card import Card, model_key
from twins.zoo.models import ModelReference


class ServedModels:
    """The models of a service, all of them resolved. The first of a task is its default."""

    def __init__(self, references: Iterable[ModelReference]) -> None:
        self.wanted: dict[str, ModelReference] = {}  # by key
        self.names: list[str] = []  # in the order in which they came, so that a new version takes the place of the old
        self.defaults: dict[str, str] = {}  # versions that an operator chose, by name
        self.draining: set[str] = set()
        self.cards: dict[str, Card] = {}  # by key
        for reference in references:
            self.add(reference)

    @property
    def references(self) -> tuple[ModelReference, ...]:
        """Return what a new worker must load."""
        return tuple(self.wanted[key] for key in self.wanted if key not in self.draining)

    @property
    def announced(self) -> tuple[Card, ...]:
        """Return the cards of the models that accept calls; of each, the default version first.

        They stay while all workers restart.
        """
        cards = [self.cards[key] for key in self.wanted if key in self.cards and key not in self.draining]
        return tuple(sorted(cards, key=self.rank))

    def rank(self, card: Card) -> tuple[int, bool, int]:
        """Return the place of a card: by model, the chosen version first, then the newest."""
        return self.names.index(card.name), self.defaults.get(card.name) != card.version, -int(card.version)

    def add(self, reference: ModelReference) -> None:
        """Add a model to serve. Its key must not be in use."""
        self.wanted[reference.key] = reference
        if reference.name not in self.names:
            self.names.append(reference.name)

    def choose_default(self, name: str, version: str) -> bool:
        """Make a version the one that answers calls without a version. Return False if it is not served."""
        if model_key(name, version) not in {card.key for card in self.announced}:
            return False
        self.defaults[name] = version
        return True

    def drain(self, key: str) -> None:
        """Accept no new calls for a model."""
        if key in self.wanted:
            self.draining.add(key)

    def remove(self, key: str) -> None:
        """Remove a drained model after its last call is answered."""
        self.draining.discard(key)
        self.cards.pop(key, None)
        removed = self.wanted.pop(key, None)
        if removed is None:
            return
        if self.defaults.get(removed.name) == removed.version:
            del self.defaults[removed.name]
        if not self.versions(removed.name):
            self.names.remove(removed.name)

    def versions(self, name: str) -> list[ModelReference]:
        """Return the versions of a model that are to be served, or are draining."""
        return [reference for reference in self.wanted.values() if reference.name == name]

    def record(self, cards: Iterable[Card]) -> None:
        """Record the cards of the models that a worker has ready."""
        self.cards |= {card.key: card for card in cards if card.key in self.wanted}

    def seen_by_frontends(self, held: Mapping[str, ModelStatus]) -> tuple[ModelStatus, ...]:
        """Return the models of a worker as frontends see them. What is drained or has other weights is unloading."""
        return tuple(
            status if self.accepts_calls(status) else replace(status, state="unloading") for status in held.values()
        )

    def accepts_calls(self, status: ModelStatus) -> bool:
        """Return whether calls may go to what a worker holds: the weights that are served, and not draining."""
        return self.is_wanted(status) and status.key not in self.draining

    def is_wanted(self, status: ModelStatus) -> bool:
        """Return whether what a worker holds are the weights that are served."""
        reference = self.wanted.get(status.key)
        return reference is not None and (reference.sha256 or "") == status.sha256

    def changes(self, held: Mapping[str, ModelStatus]) -> list[LoadModel | UnloadModel]:
        """Return the messages for a worker that holds these models. Models that it is changing get none."""
        loads = [LoadModel(reference) for reference in self.references if reference.key not in held]
        unchanging = [status for status in held.values() if status.state in ("ready", "failed")]
        return [*loads, *(UnloadModel(status.key) for status in unchanging if not self.is_wanted(status))]
