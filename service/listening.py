"""Listening sockets that several frontends share by SO_REUSEPORT: the kernel spreads the connections."""

import socket

BACKLOG = 2048


def reserve(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen: it keeps the port for the frontends, over their restarts too.

    Raises OSError if anybody else has the port, with the address for a file's name.
    """
    try:
        # SO_REUSEPORT would let us share a port with a stranger: one try without it comes first
        with open_socket(host, port, share=False) as probe:
            taken = probe.getsockname()[1]
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"{host}:{port}") from error
    return open_socket(host, taken, share=True)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket on a reserved port."""
    listener = open_socket(host, port, share=True)
    listener.listen(BACKLOG)
    return listener


def open_socket(host: str, port: int, *, share: bool) -> socket.socket:
    """A bound TCP socket."""
    family, kind, protocol, _, bind_to = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        opened.bind(bind_to)
    except OSError:
        opened.close()
        raise
    return opened
