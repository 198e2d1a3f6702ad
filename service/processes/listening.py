"""Listening sockets that several frontends share with SO_REUSEPORT. The kernel distributes the connections."""

import errno
import socket

from service.setting_sources import flag_name
from service.settings import Settings, SettingsError

BACKLOG = 2048

REMEDIES = {
    errno.EADDRINUSE: "another program uses this port; choose another one with {flag}",
    errno.EACCES: "this user may not listen on this port; choose one above 1023 with {flag}",
}
OTHER_REMEDY = "{reason}; choose an address of this machine with --host"


def check(settings: Settings) -> None:
    """Raise SettingsError if one of the ports cannot be reserved."""
    with reserve(settings, "http_port"), reserve(settings, "grpc_port"):
        pass


def reserve(settings: Settings, name: str) -> socket.socket:
    """Return a bound socket that does not listen. It keeps the port for the frontends, over their restarts too.

    `name` is the setting with the port. Raises SettingsError if this machine does not have the address, or another
    program uses the port.
    """
    host, port = settings.host, getattr(settings, name)
    try:
        # SO_REUSEPORT would share a port with another service of this user: the first try is without it.
        with open_socket(host, port, share=False) as probe:
            taken = probe.getsockname()[1]
    except OSError as error:
        remedy = REMEDIES.get(error.errno or 0, OTHER_REMEDY)
        reason = remedy.format(flag=flag_name(name), reason=error.strerror or error)
        raise SettingsError(f"cannot listen on {host}:{port}: {reason}") from error
    return open_socket(host, taken, share=True, again=False)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket on a reserved port."""
    listener = open_socket(host, port, share=True)
    listener.listen(BACKLOG)
    return listener


def open_socket(host: str, port: int, *, share: bool, again: bool = True) -> socket.socket:
    """Return a bound TCP socket. `again` allows a port on which a socket is bound without listening, or just closed."""
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
