"""Task options: one declaration that REST, gRPC, the command line and the OpenAPI document read."""

import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Annotated, Any, Literal, cast, get_args, get_origin, get_type_hints

from twins.errors import BadOption

SHOWN = 40  # characters of a wrong value that an error message repeats


@dataclass(frozen=True)
class Describe:
    """Annotation of an option's field: its description and, for a number, its range."""

    description: str
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True)
class Option:
    """One option of a task."""

    name: str
    kind: type  # str, int, float, bool, or tuple for a list of texts
    default: Any
    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()  # empty: any value

    def check(self, value: Any) -> None:
        """Raise BadOption if the value is not one of the choices or is out of range."""
        if self.choices and value not in self.choices:
            raise BadOption(f"{self.name} is {str(value)[:SHOWN]!r}; it must be one of {', '.join(self.choices)}")
        if self.minimum is not None and self.maximum is not None and not self.minimum <= value <= self.maximum:
            raise BadOption(f"{self.name} is {value}; it must be from {self.minimum:g} to {self.maximum:g}")


@dataclass(frozen=True)
class Options:
    """Base of all options. A subclass annotates each field with `Describe`. Raises BadOption for a wrong value."""

    def __post_init__(self) -> None:
        for option in declared(type(self)).values():
            option.check(getattr(self, option.name))


def declaration(options: type[Options]) -> Mapping[str, Option]:
    """Return the options that a class declares, by name."""
    hints = get_type_hints(options, include_extras=True)
    found = {field.name: read(field.name, hints[field.name], field.default) for field in fields(options)}
    return types.MappingProxyType(found)


declared = cast("Callable[[type[Options]], Mapping[str, Option]]", cache(declaration))
"""`declaration`, computed once for each class."""


def read(name: str, hint: Any, default: Any) -> Option:
    """Return the option that an annotated field declares."""
    assert get_origin(hint) is Annotated, f"the option {name} has no description"
    kind, described = get_args(hint)
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    plain = str if choices else get_origin(kind) or kind
    return Option(name, plain, default, described.description, described.minimum, described.maximum, choices)
