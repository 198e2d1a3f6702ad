"""Listening sockets that several frontends share by SO_REUSEPORT: the kernel spreads the connections."""

import socket

from service.settings import SettingsError

BACKLOG = 2048


def reserve(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen: it keeps the port for the frontends, over their restarts too.

    Raises SettingsError if the address is none of this machine's, or if anybody else has the port.
    """
    try:
        # SO_REUSEPORT would let us share a port with a stranger: one try without it comes first
        with open_socket(host, port, share=False) as probe:
            taken = probe.getsockname()[1]
    except OSError as error:
        raise SettingsError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    return open_socket(host, taken, share=True, again=False)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket on a reserved port."""
    listener = open_socket(host, port, share=True)
    listener.listen(BACKLOG)
    return listener


def open_socket(host: str, port: int, *, share: bool, again: bool = True) -> socket.socket:
    """A bound TCP socket; `again`: also where another one is bound that does not listen, or has just been closed."""
    family, kind, protocol, _, bind_to = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, again)
        if share:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        opened.bind(bind_to)
    except OSError:
        opened.close()
        raise
    return opened
