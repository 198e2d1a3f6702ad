"""Options as parameters of an address, and the result or the error in an answer over HTTP."""

import json
from collections.abc import Mapping
from typing import Any

from twins_client.errors import TwinsError
from twins_client.results import PARSERS, Result

Options = Mapping[str, Any]


def query(options: Options) -> dict[str, str]:
    """Return options as parameters of an address. None stands for the service's default."""
    return {name: as_text(value) for name, value in options.items() if value is not None}


def as_text(value: object) -> str:
    """Return the value of an option as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def parse(task: str, status: int, headers: Mapping[str, str], body: bytes) -> Result:
    """Return the result in an answer. Raise TwinsError."""
    if status == 200:
        return PARSERS[task](json.loads(body))
    raise error(status, headers, body)


def error(status: int, headers: Mapping[str, str], body: bytes) -> TwinsError:
    """Return the error in an answer."""
    try:
        problem = json.loads(body)
        code, detail = str(problem["code"]), str(problem["detail"])
    except (ValueError, KeyError, TypeError):  # of a proxy
        code, detail = ("unavailable" if status in (429, 502, 503, 504) else "internal"), f"HTTP {status}"
    after = headers.get("retry-after", "")
    return TwinsError(
        code,
        detail,
        retry_after=float(after) if after.isdecimal() else None,
        request_id=headers.get("x-request-id", ""),
        status=str(status),
    )
