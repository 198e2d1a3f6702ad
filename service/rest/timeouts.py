"""Time limits of one connection: for the headers of a request, and for fetching an answer."""

import asyncio
import struct
import termios
from collections.abc import Callable, Sequence
from fcntl import ioctl

SLOWEST_BYTES_PER_S = 1024

Act = Callable[[], None]


def nothing() -> None:
    """Do nothing."""


class Timer:
    """Calls a function unless it is cancelled in time. It is started again without effect while it runs."""

    def __init__(self, after_s: float, act: Act) -> None:
        self.after_s, self.act = after_s, act
        self.handle: asyncio.TimerHandle | None = None

    @property
    def running(self) -> bool:
        """Return whether the time runs."""
        return self.handle is not None

    def start(self) -> None:
        """Start the time, unless it runs."""
        if self.handle is None:
            self.handle = asyncio.get_running_loop().call_later(self.after_s, self.fire)

    def cancel(self) -> None:
        """Stop the time."""
        if self.handle is not None:
            self.handle.cancel()
            self.handle = None

    def close(self) -> None:
        """Stop for good, and let go of the function, which refers to what has the timer."""
        self.cancel()
        self.act = nothing

    def fire(self) -> None:
        """Call the function."""
        self.handle = None
        self.act()


class SendTimer:
    """Calls a function if a client fetches too little of what waits for it.

    Each period must see SLOWEST_BYTES_PER_S. A client that fetches everything needs no further timer. `transports` are
    those through which an answer passes, each with a buffer: that of TLS, and the one beneath it.
    """

    def __init__(self, transports: Sequence[asyncio.Transport], period_s: float, on_slow: Act) -> None:
        self.transports, self.on_slow = transports, on_slow
        self.timer = Timer(period_s, self.check)
        self.waiting = 0

    def start(self) -> None:
        """Start with what waits now. A period that runs goes on, unless more waits than at its start."""
        waiting = self.waiting_bytes()
        if waiting > self.waiting or not self.timer.running:
            self.timer.cancel()
            self.waiting = waiting
            self.timer.start()

    def cancel(self) -> None:
        """Stop, since the buffer is short again."""
        self.timer.cancel()

    def close(self) -> None:
        """Stop for good."""
        self.timer.close()
        self.on_slow = nothing

    def check(self) -> None:
        """Check whether enough was fetched in this period."""
        if not self.buffered_bytes:  # the system has the rest, whose memory is not ours
            return
        if self.waiting_bytes() > max(0, self.waiting - SLOWEST_BYTES_PER_S * self.timer.after_s):
            self.on_slow()
        else:
            self.start()

    @property
    def buffered_bytes(self) -> int:
        """Return how many bytes of answers are in the memory of this process."""
        return sum(transport.get_write_buffer_size() for transport in self.transports)

    def waiting_bytes(self) -> int:
        """Return how many bytes the client has not fetched yet, with those in the buffer of the system.

        The buffer of the system takes more only when a good part of it is free, which a slow client needs minutes for.
        """
        connection = self.transports[0].get_extra_info("socket")
        if connection is None or connection.fileno() < 0:
            return self.buffered_bytes
        (sent,) = struct.unpack("i", ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)))
        return self.buffered_bytes + int(sent)
