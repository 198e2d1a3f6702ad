"""The file of API keys: a TOML file with the hash of each key, which is read again when it changes."""

import os
import tempfile
import tomllib
from collections.abc import Iterable
from datetime import UTC, date, datetime, time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec

from service import logs
from service.access.keys import NAME, USUAL_SCOPES, Key, Keys, Scope, from_setting, repeated
from service.changes import FollowedFiles
from service.settings import Settings, SettingsError

HEADER = "# API keys: `twins keys` writes this file. It has the SHA-256 hash of each key, and no key.\n"
MODE = 0o600

log = logs.get()


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key in the file."""

    name: Annotated[str, msgspec.Meta(pattern=rf"^{NAME}\Z")]
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    scopes: Annotated[tuple[Scope, ...], msgspec.Meta(min_length=1)] = USUAL_SCOPES
    expires: Any = None  # a date or a time, which msgspec cannot tell apart

    def key(self) -> Key:
        """Return the key. Raise ValueError."""
        return Key(self.name, bytes.fromhex(self.sha256), self.scopes, in_utc(self.expires))


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file."""

    keys: tuple[Entry, ...] = ()


def in_utc(value: object) -> datetime | None:
    """Return a date or a time of a file in UTC; a date stands for its start. Raise ValueError."""
    match value:
        case None:
            return None
        case datetime():
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        case date():
            return datetime.combine(value, time(), UTC)
    raise ValueError("expires must be a date or a time, such as 2027-01-01 or 2027-01-01T12:00:00Z, without quotes")


# ---------------------------------------------------------------------- reading


def read(path: Path) -> list[Key]:
    """Return the keys of a file. Raise SettingsError."""
    try:
        document = msgspec.convert(tomllib.loads(path.read_text("utf-8-sig")), Document)
        keys = [entry.key() for entry in document.keys]
    except OSError as error:
        raise SettingsError(f"{path}: cannot read the keys: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: cannot read the keys: it is not a text file in UTF-8") from error
    except (ValueError, OverflowError, RecursionError) as error:  # none of them shows a value of the file
        raise SettingsError(f"{path}: cannot read the keys: {error}") from error
    if name := repeated(keys):
        raise SettingsError(f"{path}: the key {name} is there twice, or its name; give each its own")
    return keys


def load(settings: Settings) -> Keys:
    """Return the keys of the setting and of the file. Raise SettingsError."""
    keys = keys_of_setting(settings)
    if settings.keys_file:
        keys += read(settings.keys_file)
        if name := repeated(keys):
            raise SettingsError(f"{settings.keys_file}: the key {name} is also in --api-key; give each its own name")
    return Keys(keys, required=bool(settings.api_keys or settings.keys_file))


def keys_of_setting(settings: Settings) -> list[Key]:
    """Return the keys that are not in the file."""
    return from_setting(key.get_secret_value() for key in settings.api_keys)


class CurrentKeys:
    """The keys that are accepted now. A file that is broken after a change changes nothing.

    If it is broken when a process starts, only the keys of the setting are accepted until it is correct: the start of
    the service has checked it, so this is a process that replaces another one.
    """

    def __init__(self, settings: Settings) -> None:
        self.files = FollowedFiles(
            *filter(None, [settings.keys_file]),
            read=partial(load, settings),
            problem="the keys file is broken; the keys from before are accepted",
        )
        try:
            self.keys = load(settings)
        except SettingsError as error:
            self.keys = Keys(keys_of_setting(settings), required=True)
            self.files.retry(error)
            log.error("the keys file is broken; none of its keys is accepted", detail=str(error))

    def identify(self, secret: str | None) -> Key | None:
        """Return a caller's key, or None if none is required. Raise Unauthenticated."""
        return self.keys.identify(secret)

    def replace(self, keys: Keys) -> None:
        """Accept other keys from now on."""
        self.keys = keys
        log.info("keys read", keys=len(keys.keys))

    async def follow(self) -> None:
        """Read the file again whenever it changes, until cancelled."""
        await self.files.follow(self.replace)


# ---------------------------------------------------------------------- writing


def write(path: Path, keys: Iterable[Key]) -> None:
    """Replace a file at once, so that no reader finds half of it. Only its owner can read it. Raise OSError."""
    path = path.resolve()  # a symbolic link stays one
    text = "\n".join([HEADER, *map(render, keys)])
    number, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # with the mode 0600
    try:
        with os.fdopen(number, "w", encoding="utf-8") as file:
            os.fchmod(number, MODE)
            if path.exists() and os.geteuid() == 0:  # the service may run as another user, who has to read it
                os.fchown(number, path.stat().st_uid, path.stat().st_gid)
            file.write(text)
            file.flush()
            os.fsync(number)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def render(key: Key) -> str:
    """Return a key as a part of the file."""
    scopes = ", ".join(f'"{scope}"' for scope in key.scopes)
    expires = f"expires = {key.expires.replace(tzinfo=None).isoformat(timespec='seconds')}Z\n" if key.expires else ""
    return f'[[keys]]\nname = "{key.name}"\nsha256 = "{key.digest.hex()}"\nscopes = [{scopes}]\n{expires}'
