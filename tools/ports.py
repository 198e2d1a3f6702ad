"""Checks that the ports of `make serve` are free, using only the standard library: nothing is installed yet."""

import errno
import os
import socket
import sys
import tomllib
from pathlib import Path

PORTS = {"TWINS_HTTP_PORT": 8000, "TWINS_GRPC_PORT": 8001}

REMEDIES = {
    errno.EADDRINUSE: "another program uses this port; choose another one, as in `{example}`",
    errno.EACCES: "this user may not listen on this port; choose one above 1023, as in `{example}`",
}
OTHER_REMEDY = "{reason}; set TWINS_HOST to an address of this machine"


def settings() -> dict[str, object]:
    """Return the values in the settings file. `twins serve` says what is wrong with a file that cannot be read."""
    path = os.environ.get("TWINS_CONFIG")
    try:
        return tomllib.loads(Path(path).read_text("utf-8")) if path else {}
    except (OSError, ValueError):
        return {}


FILE = settings()


def from_file(variable: str, default: int) -> int:
    """Return the port in the settings file that a variable replaces, or the default."""
    port = FILE.get(variable.removeprefix("TWINS_").lower())
    return port if isinstance(port, int) else default


def problem(variable: str, default: int) -> str | None:
    """Return what is wrong with the port in a variable, or None."""
    text = os.environ.get(variable, str(default))
    if not (text.isascii() and text.isdecimal() and int(text) <= 65535):
        return f"{variable} must be a whole number from 0 to 65535, not {text!r}"
    host = os.environ.get("TWINS_HOST") or str(FILE.get("host", "127.0.0.1"))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, int(text)), family=family):
            return None
    except OSError as error:
        remedy = REMEDIES.get(error.errno or 0, OTHER_REMEDY)
        example = f"{variable}={default + 80} make serve"
        return f"cannot listen on {host}:{text}: {remedy.format(example=example, reason=error.strerror or error)}"


def main() -> None:
    """Check both ports, and exit with an error message if one cannot be used."""
    ports = {variable: from_file(variable, default) for variable, default in PORTS.items()}
    chosen = {os.environ.get(variable, str(port)) for variable, port in ports.items()}
    if len(chosen) < len(ports) and chosen != {"0"}:
        sys.exit(f"make serve: {' and '.join(ports)} are both {chosen.pop()}; choose two different ports")
    if problems := [found for variable, port in ports.items() if (found := problem(variable, port))]:
        sys.exit("\n".join(f"make serve: {found}" for found in problems))


if __name__ == "__main__":
    main()
