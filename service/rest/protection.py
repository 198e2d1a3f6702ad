"""The headers that protect browsers: of every response, unless the response has its own."""

from collections.abc import Iterable, Sequence

from starlette.responses import Response

Header = tuple[bytes, bytes]

DEFAULTS: Sequence[Header] = (
    (b"x-content-type-options", b"nosniff"),  # an answer is what its type says, never a script
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),  # does not bind pages that `cors_origins` allows
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),  # the pages have their own
    (b"cache-control", b"no-store"),  # answers are made of a client's images; files of the pages have their own
)
"""Prepared once, since every response has them. There is no Strict-Transport-Security: it belongs to TLS."""


def protected(headers: Iterable[Header]) -> list[Header]:
    """Return the headers of a response with the defaults for those that it does not have."""
    found = list(headers)
    names = {name for name, _ in found}
    return [*found, *(header for header in DEFAULTS if header[0] not in names)]


def protect(response: Response) -> Response:
    """Return a response that does not pass the middleware, with these headers."""
    response.raw_headers = protected(response.raw_headers)
    return response
