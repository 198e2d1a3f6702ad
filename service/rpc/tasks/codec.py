"""The codec that converts the messages of a task."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from service.errors import BadRequest
from twins.render.renderer import Renderer
from twins.tasks.options import Option, declared
from twins.tasks.task import AnyTask

PROTOBUF = "application/protobuf"

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)
Value = TypeVar("Value")


@dataclass(frozen=True)
class Codec(Generic[Request, Response]):
    """The messages of one task. A response has the fields `id`, `model` and `timing`, which the servicer sets."""

    task: AnyTask
    response: type[Response]
    renderer: Callable[[Request], Renderer]  # makes responses of results; raises BadRequest

    def options(self, request: Request) -> Any:
        """Return the options of a request. Raises BadRequest, BadOption."""
        fields = request.DESCRIPTOR.fields_by_name
        given = {name: option for name, option in declared(self.task.options).items() if name in fields}
        return self.task.options(**{name: read(request, fields[name], option) for name, option in given.items()})


def read(request: Message, field: Any, option: Option) -> Any:
    """Return the value of an option; its default if the field is absent."""
    if field.has_presence and not request.HasField(field.name):
        return option.default
    value = getattr(request, field.name)
    if field.enum_type is not None:
        return choice(field, value) or option.default
    return tuple(value) if option.kind is tuple else value


def choice(field: Any, number: int) -> str:
    """Return the choice that a value of an enumeration means; empty for its zero. Raises BadRequest.

    The values are called `ENUM_CHOICE`, and the zero is `ENUM_UNSPECIFIED`.
    """
    names = [value.name for value in field.enum_type.values]
    prefix = names[0].removesuffix("UNSPECIFIED")
    value = known_value(field.name, number, field.enum_type.values_by_number)
    name: str = value.name
    return name.removeprefix(prefix).lower() if number else ""


def known_value(name: str, number: int, table: Mapping[int, Value]) -> Value:
    """Return the entry of an enumeration's value. Raises BadRequest if there is none."""
    if number not in table:
        raise BadRequest(f"{name} is {number}; it must be one of {', '.join(map(str, sorted(table)))}")
    return table[number]
