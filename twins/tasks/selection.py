"""The classes that a request selects."""

from collections.abc import Sequence

from twins.card import Card
from twins.errors import BadOption


def selected_ids(classes: Sequence[str], card: Card) -> frozenset[int]:
    """Return the ids of the classes that are given by name or id. A name that several classes share means all of them.

    Raise BadOption for a class that the model does not have.
    """
    if not classes:
        return frozenset()
    known: dict[str, set[int]] = {}
    for i, label in enumerate(card.labels):
        for name in (str(i), label.name.lower()):
            known.setdefault(name, set()).add(i)
    ids: set[int] = set()
    for wanted in classes:
        if (found := known.get(wanted.strip().lower())) is None:
            raise BadOption(f"{card.name} has no class {wanted[:40]!r}; give a class by its name or its id")
        ids |= found
    return frozenset(ids)
