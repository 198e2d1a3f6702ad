"""The orders of the protocol's repository extension: the index, load and unload, with the parameters of each."""

from collections.abc import Mapping
from typing import Any

from service.core.call import Outcome
from service.core.engine import Engine
from service.core.orders import IndexEntry
from service.errors import BadRequest

VERSION, DEFAULT = "version", "default"
LOAD_PARAMETERS: Mapping[str, type] = {VERSION: str, DEFAULT: bool}
UNLOAD_PARAMETERS: Mapping[str, type] = {VERSION: str, "unload_dependents": bool}
"""The parameters of each order and their types. No model depends on another one here."""


async def index(engine: Engine, *, ready: bool = False) -> list[dict[str, str]]:
    """Return the state of each version as the protocol writes it; with `ready` only of those that answer."""
    return [form(entry) for entry in await engine.index() if entry.state == "READY" or not ready]


def form(entry: IndexEntry) -> dict[str, str]:
    """Return an entry as the protocol writes it."""
    return {"name": entry.name, "version": entry.version, "state": entry.state, "reason": entry.reason}


async def load(engine: Engine, outcome: Outcome, name: str, given: Mapping[str, Any]) -> None:
    """Load the newest versions of a model, or one version, and perhaps make it the default. Raise ServiceError."""
    version, default = read(given, LOAD_PARAMETERS).get(VERSION, ""), given.get(DEFAULT, False)
    if default and not version:
        raise BadRequest(f"the parameter {DEFAULT} needs the parameter {VERSION}")
    await engine.order(outcome, "load", name, version)
    if default:
        await engine.order(outcome, "default", name, version)


async def unload(engine: Engine, outcome: Outcome, name: str, given: Mapping[str, Any]) -> None:
    """Unload a version of a model, or all. Raise ServiceError."""
    await engine.order(outcome, "unload", name, read(given, UNLOAD_PARAMETERS).get(VERSION, ""))


def read(given: Mapping[str, Any], known: Mapping[str, type]) -> Mapping[str, Any]:
    """Return the parameters of an order. Raise BadRequest for one that does not exist or has another type."""
    for name, value in given.items():
        if name not in known:
            raise BadRequest(f"no parameter is called {name[:40]!r}; there are {', '.join(known)}")
        if type(value) is not known[name]:
            raise BadRequest(f"the parameter {name} must be of the type {known[name].__name__}")
    return given
