"""The API keys that the service accepts: whose a key is, and what it allows."""

import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, get_args

from service.errors import Forbidden, Unauthenticated

Scope = Literal["infer", "models", "control", "metrics"]
"""What a call is: running a model, describing models, changing what is served, and reading /metrics."""
SCOPES: tuple[Scope, ...] = get_args(Scope)
USUAL_SCOPES: tuple[Scope, ...] = ("infer", "models")

NAME = r"[A-Za-z0-9._-]{1,64}"
NAMED = re.compile(rf"(?P<name>{NAME}):(?P<secret>.+)", re.DOTALL)
"""Matches a key with a name. A bearer token has no colon (RFC 6750), so a key without a name does not match."""


@dataclass(frozen=True)
class Key:
    """A key, known by its hash. Its name appears in the log instead of it."""

    name: str
    digest: bytes
    scopes: Sequence[Scope] = SCOPES
    expires: datetime | None = None  # in UTC

    @property
    def expired(self) -> bool:
        """Return whether the key is no longer accepted."""
        return self.expires is not None and datetime.now(UTC) >= self.expires


def digest(secret: str) -> bytes:
    """Return the hash of a key.

    A hash for passwords is slow, so that guesses are expensive. Keys are random and have more than 128 bits, so nobody
    can guess them at any speed, and every request needs the hash.
    """
    return hashlib.sha256(secret.encode()).digest()


class Keys:
    """The keys that are accepted. If none is required, every caller may do everything."""

    def __init__(self, keys: Iterable[Key], *, required: bool) -> None:
        self.keys, self.required = tuple(keys), required

    def identify(self, secret: str | None) -> Key | None:
        """Return a caller's key, or None if none is required. Raise Unauthenticated."""
        if not self.required:
            return None
        given = digest(secret or "")
        # compares with every key, so that the time of an answer says nothing about the keys
        found = [key for key in self.keys if hmac.compare_digest(given, key.digest)]
        if not secret or not found:
            raise Unauthenticated("send a key as `Authorization: Bearer KEY`")
        if found[0].expired:
            raise Unauthenticated(f"the key {found[0].name} has expired; ask for another one")
        return found[0]


def check_scope(key: Key | None, scope: Scope) -> None:
    """Raise Forbidden if a key does not allow this. None stands for a caller who needs no key."""
    if key is not None and scope not in key.scopes:
        raise Forbidden(f"the key {key.name} has no scope {scope}; it has {', '.join(key.scopes)}")


def from_setting(texts: Iterable[str]) -> list[Key]:
    """Return the keys of the setting, each given as KEY or NAME:KEY. They have all scopes, and do not expire."""
    return [parse(text, number) for number, text in enumerate(texts, start=1)]


def parse(text: str, number: int) -> Key:
    """Return a key of the setting. A key without a name is named after its number."""
    named = NAMED.fullmatch(text)
    return Key(named["name"], digest(named["secret"])) if named else Key(f"key-{number}", digest(text))


def repeated(keys: Iterable[Key]) -> str:
    """Return a name that two keys share, or the name of a key that is the same as another one; empty if none is."""
    keys = list(keys)
    names, digests = Counter(key.name for key in keys), Counter(key.digest for key in keys)
    return next((key.name for key in keys if names[key.name] > 1 or digests[key.digest] > 1), "")
