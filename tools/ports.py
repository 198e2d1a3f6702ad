"""Checks that the ports of `make serve` are free. It needs Python alone, since it runs before anything is installed."""

import os
import socket
import sys

PORTS = {"TWINS_HTTP_PORT": 8000, "TWINS_GRPC_PORT": 8001}


def problem(variable: str, default: int) -> str | None:
    """Return what is wrong with the port in a variable, or None."""
    text = os.environ.get(variable, str(default))
    if not (text.isascii() and text.isdecimal() and int(text) <= 65535):
        return f"{variable} must be a whole number from 0 to 65535, not {text!r}"
    host = os.environ.get("TWINS_HOST", "127.0.0.1")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, int(text)), family=family):
            return None
    except OSError as error:
        reason = error.strerror or str(error)
        return (
            f"cannot listen on port {text}: {reason}; choose another one, as in `{variable}={default + 80} make serve`"
        )


def main() -> None:
    """Exit with an error message if a port cannot be used."""
    if problems := [found for variable, default in PORTS.items() if (found := problem(variable, default))]:
        sys.exit("\n".join(f"make serve: {found}" for found in problems))


if __name__ == "__main__":
    main()
