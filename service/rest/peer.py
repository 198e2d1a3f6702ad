"""The client at the other end of a connection, and the end of the work for it when it disconnects."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.errors import Cancelled

PEER = "peer"  # the key in a request's state
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"


class Peer:
    """The client of one connection. It waits for one answer at a time.

    `resume_reading` resumes the reading of its connection, which pauses while a long body is buffered: a paused
    connection does not report that the client disconnects. `is_closing` returns whether the connection is at its end,
    which it is some time before it says so by `leave`.
    """

    def __init__(
        self, resume_reading: Callable[[], None] = lambda: None, is_closing: Callable[[], bool] = lambda: False
    ) -> None:
        self.resume_reading, self.is_closing = resume_reading, is_closing
        self.gone = False
        self.working: asyncio.Task[object] | None = None

    def leave(self) -> None:
        """Cancel the work for the client, which has disconnected."""
        self.gone = True
        if self.working:
            self.working.cancel()

    @contextmanager
    def waits(self) -> Iterator[None]:
        """Run the block for the client. If the client disconnects first, cancel the block and raise Cancelled."""
        if self.gone:
            raise Cancelled("the client disconnected")
        task = self.working = asyncio.current_task()
        self.resume_reading()
        try:
            yield
        except asyncio.CancelledError:
            if not (task and self.gone) or task.uncancel():
                raise
            raise Cancelled("the client disconnected") from None
        finally:
            self.working = None


def is_reset(transport: asyncio.Transport) -> bool:
    """Return whether the client has reset a connection of which nothing is read any more.

    A client that closes its connection and one that has only finished sending look alike, until they get a byte: the
    system of the first one then resets the connection. INTERIM is such a byte, which clients skip (RFC 9110, 15.2).
    """
    connection = transport.get_extra_info("socket")
    return connection is not None and connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
