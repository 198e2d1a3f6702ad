"""The client at the other end of a connection, and the end of the work for it when it disconnects."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.errors import Cancelled

PEER = "peer"  # the key in a request's state


class Peer:
    """The client of one connection. It waits for one answer at a time.

    `resume_reading` resumes the reading of its connection, which pauses while a long body is buffered: a paused
    connection does not report that the client disconnects.
    """

    def __init__(self, resume_reading: Callable[[], None] = lambda: None) -> None:
        self.resume_reading = resume_reading
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
