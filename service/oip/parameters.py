"""The parameters of a request as the options of a task."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.core.batcher import USUAL_PRIORITY
from service.errors import BadRequest
from twins.tasks.options import Option, declared
from twins.tasks.task import AnyTask

RESERVED = {"timeout", "priority", "binary_data_output", "headers", "content_type"}
"""Parameters of the protocol. Those that start with `triton_` or `sequence_` are, too."""
PREFIXES = ("triton_", "sequence_")


@dataclass(frozen=True)
class RunOptions:
    """The options with which a model runs, those that the client asked for, and the place of the request in the queue.

    They differ if an output needs more than what the client wants to see of another one.
    """

    run: Any
    shown: Any
    priority: int


def options_of(task: AnyTask, parameters: Mapping[str, Any], needed: Mapping[str, Any]) -> RunOptions:
    """Return the options that parameters ask for. Raise BadRequest, BadOption."""
    known = declared(task.options)
    given = {name: value for name, value in parameters.items() if not reserved(name)}
    if unknown := sorted(given.keys() - known.keys()):
        raise BadRequest(f"no parameter is called {unknown[0][:40]!r}; {task.name} has {', '.join(known)}")
    values = {name: read(known[name], value) for name, value in given.items()}
    return RunOptions(task.options(**{**values, **needed}), task.options(**values), priority(parameters))


def known_to(task: AnyTask, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of the protocol and those that a task has."""
    known = declared(task.options)
    return {name: value for name, value in parameters.items() if reserved(name) or name in known}


def reserved(name: str) -> bool:
    """Return whether a parameter belongs to the protocol."""
    return name in RESERVED or name.startswith(PREFIXES)


def priority(parameters: Mapping[str, Any]) -> int:
    """Return the priority of a request: 1 is the highest, and 0 or none is the usual one. Raise BadRequest."""
    given = parameters.get("priority", 0)
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given < 2**32:
        raise BadRequest("the parameter priority must be a whole number; 1 is the highest")
    return given or USUAL_PRIORITY


def as_float(name: str, value: int) -> float:
    """Return a whole number as the value of an option. Raise BadRequest if it exceeds what a float holds."""
    try:
        return float(value)
    except OverflowError as error:
        raise BadRequest(f"the parameter {name} is too large") from error


def read(option: Option, value: Any) -> Any:
    """Return the value of an option; a list is a text separated by commas. Raise BadRequest for another type."""
    if option.kind is tuple and isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if option.kind is float and isinstance(value, int) and not isinstance(value, bool):
        return as_float(option.name, value)
    if type(value) is not option.kind:
        kind = "a text separated by commas" if option.kind is tuple else f"of the type {option.kind.__name__}"
        raise BadRequest(f"the parameter {option.name} must be {kind}")
    return value
