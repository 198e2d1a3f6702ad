"""The API keys that the service accepts, and their names in the log."""

import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass

from service.errors import Unauthenticated

NAMED = re.compile(r"(?P<name>[A-Za-z0-9._-]{1,64}):(?P<secret>.+)", re.DOTALL)
"""Matches a key with a name. A bearer token has no colon (RFC 6750), so a key without a name does not match."""


@dataclass(frozen=True)
class ApiKey:
    """A key and its name, which appears in the log instead of the key."""

    name: str
    secret: bytes


class ApiKeys:
    """The keys in the settings, each given as KEY or NAME:KEY. If there are none, every caller is accepted."""

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
    """Return the key in a setting. A key without a name is named after its number."""
    named = NAMED.fullmatch(text)
    return ApiKey(named["name"], named["secret"].encode()) if named else ApiKey(f"key-{number}", text.encode())
