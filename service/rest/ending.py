"""The end of one connection: when its client has fetched everything, or fetches it too slowly."""

import asyncio

from service.rest.scope import BUFFER_BYTES
from service.rest.timeouts import Act, SendTimer, Timer

FINISH_S = 0.05  # between two looks at whether TLS has sent everything


class Ending:
    """Closes a connection, and bounds how long its client may take to fetch what it is sent.

    `beneath` is the transport under that of TLS, `on_slow` what is called for a client that is too slow.
    """

    def __init__(
        self, transport: asyncio.Transport, beneath: asyncio.Transport | None, send_timeout_s: float, on_slow: Act
    ) -> None:
        self.transport, self.beneath = transport, beneath
        self.send_timer = SendTimer([transport, *filter(None, [beneath])], send_timeout_s, on_slow)
        self.finish_timer = Timer(FINISH_S, self.finish)

    def close(self) -> None:
        """Close the connection once the client has fetched everything, or fetches it too slowly."""
        self.transport.close()
        self.wait()

    def wait(self) -> None:
        """Wait until the client has fetched everything, after the transport was closed."""
        self.send_timer.start()
        self.finish()

    def finish(self) -> None:
        """Close the connection under TLS when TLS has sent everything, its end included.

        The transport of TLS would wait for the client to confirm the end, which clients do not do over connections that
        they keep for later. The connection would be open meanwhile without giving way to others.
        """
        if self.beneath is None:
            return
        if self.transport.get_write_buffer_size():
            self.finish_timer.start()
        else:
            self.beneath.close()

    def measure(self) -> None:
        """Measure how fast the client fetches its answer, if any of it waits.

        The transport of TLS says nothing of a client that is slow: it passes on all that it has, however much waits
        beneath it.
        """
        if self.send_timer.buffered_bytes:
            self.send_timer.start()

    def resume(self) -> None:
        """Stop measuring if the client has fetched most of its answer."""
        if not self.transport.is_closing() and self.send_timer.buffered_bytes < BUFFER_BYTES:
            self.send_timer.cancel()

    def forget(self) -> None:
        """Stop the timers of a connection that has ended."""
        self.send_timer.close()
        self.finish_timer.close()
