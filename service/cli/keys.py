"""`twins keys` adds API keys to a file, lists and removes them. A running service follows the file."""

import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from service.access import key_file
from service.access.keys import NAME, SCOPES, USUAL_SCOPES, Key, Scope, digest
from service.settings import SettingsError

BYTES = 32  # of a key, from the system's random numbers
TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"]

file_option = click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("keys.toml"),
    envvar="TWINS_KEYS_FILE",
    show_default=True,
    help="Use this file. [TWINS_KEYS_FILE]",
)


@click.group()
def keys() -> None:
    """Add, list and remove the API keys of a file, which `twins serve --keys-file` accepts.

    \b
    twins keys add team-a                      runs and lists models
    twins keys add operator --scope control --expires 2027-01-01
    twins keys list
    twins keys remove team-a
    """  # noqa: D301 - click wants the control character


@keys.command()
@click.argument("name")
@click.option(
    "--scope", "scopes", type=click.Choice(SCOPES), multiple=True, default=USUAL_SCOPES, show_default=True,
    help="Allow this. Repeat it for several scopes.",
)  # fmt: skip
@click.option("--expires", type=click.DateTime(TIMES), help="Accept the key until this date or time in UTC.")
@file_option
def add(name: str, scopes: tuple[Scope, ...], expires: datetime | None, path: Path) -> None:
    """Make a key, print it, and add its hash to the file. The key is shown this once."""
    secret = f"twins_{secrets.token_urlsafe(BYTES)}"
    made = Key(name, digest(secret), tuple(dict.fromkeys(scopes)), expires and expires.replace(tzinfo=UTC))
    if not re.fullmatch(NAME, name):
        raise click.UsageError("a name has 1 to 64 letters, digits, dots, hyphens and underscores")
    with changing(path) as known:
        if any(key.name == name for key in known):
            raise click.UsageError(f"{path} has a key {name} already; remove it first, or choose another name")
        known.append(made)
    click.echo(secret)


@keys.command("list")
@file_option
def show(path: Path) -> None:
    """Print the name, scopes and expiry of each key."""
    table = Table("name", "scopes", "expires", box=None, pad_edge=False)
    for key in key_file.read(path):
        expires = f"{key.expires:%Y-%m-%d %H:%M:%S} UTC" if key.expires else "never"
        table.add_row(key.name, " ".join(key.scopes), f"{expires} (expired)" if key.expired else expires)
    Console().print(table)


@keys.command()
@click.argument("name")
@file_option
def remove(name: str, path: Path) -> None:
    """Remove a key. Services that follow the file refuse it within seconds."""
    with changing(path) as known:
        kept = [key for key in known if key.name != name]
        if len(kept) == len(known):
            raise click.UsageError(f"{path} has no key {name}; it has {', '.join(key.name for key in known) or 'none'}")
        known[:] = kept


@contextmanager
def changing(path: Path) -> Iterator[list[Key]]:
    """Yield the keys of a file to change them, and write them. Two commands at once wait for each other."""
    try:
        folder = os.open(path.resolve().parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)  # a lock on the file itself would end with its replacement
            known = key_file.read(path) if path.exists() else []
            yield known
            key_file.write(path, known)
        finally:
            os.close(folder)
    except OSError as error:
        raise SettingsError(f"{path}: cannot write the keys: {error.strerror or error}") from error
