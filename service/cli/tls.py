"""The flags by which commands call a service over TLS."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from service.load.tls import ClientTls

PEM = click.Path(exists=True, dir_okay=False, path_type=Path)
FLAGS = (
    click.option("--ca", metavar="FILE", type=PEM, help="Trust the authorities in this PEM file, over TLS"),
    click.option("--certificate", metavar="FILE", type=PEM, help="Show the service the certificate in this PEM file"),
    click.option("--key", metavar="FILE", type=PEM, help="Use the private key in this PEM file for --certificate"),
)


def tls_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags to a command, which receives them as `tls`. Raise BadOption for a certificate without its key."""

    @functools.wraps(command)
    def with_tls(*arguments: Any, ca: Path | None, certificate: Path | None, key: Path | None, **options: Any) -> Any:
        return command(*arguments, tls=ClientTls(ca, certificate, key), **options)

    return functools.reduce(lambda decorated, flag: flag(decorated), reversed(FLAGS), with_tls)
