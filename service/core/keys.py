"""API keys: which ones open the service, and the names by which the log calls them."""

import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass

from service.errors import Unauthenticated

NAMED = re.compile(r"(?P<name>[A-Za-z0-9._-]{1,64}):(?P<secret>.+)", re.DOTALL)
"""A key with a name. A bearer token has no colon (RFC 6750), so a plain key does not look like this."""


@dataclass(frozen=True)
class ApiKey:
    """A key, and the name that the log shows instead of it."""

    name: str
    secret: bytes


class ApiKeys:
    """The keys of the settings, each given as KEY or NAME:KEY. Without any, every caller may come in."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.keys = tuple(parse(text, number) for number, text in enumerate(texts, start=1))

    def name_of(self, secret: str | None) -> str:
        """Return the name of a caller's key, or an empty name if none is needed. Raise Unauthenticated."""
        if not self.keys:
            return ""
        for key in self.keys:
            if secret and hmac.compare_digest(secret.encode(), key.secret):
                return key.name
        raise Unauthenticated("send a key as `Authorization: Bearer KEY`")


def parse(text: str, number: int) -> ApiKey:
    """Return the key in a setting; one without a name is called by its number."""
    named = NAMED.fullmatch(text)
    return ApiKey(named["name"], named["secret"].encode()) if named else ApiKey(f"key-{number}", text.encode())
