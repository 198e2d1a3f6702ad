"""Describes invalid settings for the user. pydantic's own messages are for programmers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

KINDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
    Path | None: "the path of a file or folder",
}


def describe(problem: Any, fields: Mapping[str, FieldInfo], names: Mapping[str, str], *, secret: set[str]) -> str:
    """Return a problem that pydantic found as a sentence.

    `names` says how the user wrote each setting: as a flag, a variable or a name in the file. The values of settings in
    `secret` are not shown.
    """
    own_message = str(problem["ctx"]["error"]) if problem["type"] == "value_error" else ""
    if not problem["loc"]:  # several settings together: the input has all of them, API keys included
        return own_message.format_map(names)
    name = str(problem["loc"][0])
    given = "" if name in secret else f", not {problem['input']!r}"
    return f"{names[name]}: {own_message or f'must be {allowed(fields[name])}'}{given}"


def allowed(field: FieldInfo) -> str:
    """Return what a setting may be."""
    if get_origin(field.annotation) is Literal:
        return "one of " + ", ".join(map(str, get_args(field.annotation)))
    if get_origin(field.annotation) is tuple:
        return "a list of strings"
    return KINDS[field.annotation] + range_of(field)


def range_of(field: FieldInfo) -> str:
    """Return the range of a number, such as ` from 0 to 65535`."""
    least, most, above = (bound(field, name) for name in ("ge", "le", "gt"))
    if above is not None:
        return f" above {above}"
    if least is None:
        return ""
    return f" of at least {least}" if most is None else f" from {least} to {most}"


def bound(field: FieldInfo, name: str) -> Any:
    """Return a constraint of a field, or None."""
    return next((value for each in field.metadata if (value := getattr(each, name, None)) is not None), None)
