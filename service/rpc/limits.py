"""The limits of the gRPC port: what the library enforces on connections, and how many calls may be open.

The library refuses streams, frames and metadata beyond its limits before this process sees a call. The calls that it
hands over are counted here, before their messages are received.
"""

import resource
from collections import Counter
from collections.abc import Sequence

from service import metrics
from service.core.address import Network, is_in, network_of, parse
from service.core.memory import MemoryBudget
from service.errors import Overloaded
from service.settings import Settings
from service.tls import HANDSHAKE_S

FRAMING_BYTES = 64 * 2**10  # beyond the image limit, so that the service rejects a large image before the library does
WINDOW_BYTES = 64 * 2**10  # of a message that arrive before the service asks for it
RETRY_AFTER_S = 1
SHARE_OF_FILES = 0.125  # of the open files of a process
MOST_CONNECTIONS = 2**16  # where files are not limited

CONNECTION_OPTIONS = {
    # Ports and messages
    "grpc.so_reuseport": 1,
    "grpc.max_send_message_length": -1,
    # What one connection may hold
    "grpc.max_concurrent_streams": 256,
    "grpc.http.overload_protection": 1,  # streams that were reset count until their calls have ended
    "grpc.max_metadata_size": 16 * 2**10,
    "grpc.absolute_max_metadata_size": 16 * 2**10,  # the same; between two limits, the library refuses at random
    "grpc.http2.lookahead_bytes": WINDOW_BYTES,
    "grpc.http2.bdp_probe": 0,  # it would let a fast client send more than the window before the service asks
    # Clients that ping: as often as the usual keepalive, but not more
    "grpc.http2.min_ping_interval_without_data_ms": 10_000,
    "grpc.http2.max_ping_strikes": 2,
    "grpc.keepalive_permit_without_calls": 1,
    # Clients that vanished, or never said what they want. Idle connections stay: the library would close one even if a
    # call is on its way
    "grpc.keepalive_time_ms": 60_000,
    "grpc.http2.ping_timeout_ms": 20_000,
    "grpc.server_handshake_timeout_ms": 10_000,
}
"""The options of the library that do not depend on settings."""


def server_options(settings: Settings) -> list[tuple[str, int]]:
    """Return the options of the library."""
    options = {
        **CONNECTION_OPTIONS,
        "grpc.server_handshake_timeout_ms": round(1000 * HANDSHAKE_S),
        "grpc.max_receive_message_length": settings.max_body_bytes + FRAMING_BYTES,
        "grpc.max_allowed_incoming_connections": max_connections(),
    }
    return list(options.items())


def max_connections() -> int:
    """Return how many connections may be open, so that floods of them leave open files for HTTP and the workers."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(int(files * SHARE_OF_FILES), MOST_CONNECTIONS) if files >= 0 else MOST_CONNECTIONS


class CallLimits:
    """Counts the open calls, in all and of each address."""

    def __init__(self, settings: Settings, memory: MemoryBudget, trusted: Sequence[Network]) -> None:
        self.limit, self.limit_per_address = settings.max_calls, settings.max_calls_per_address
        self.memory, self.trusted = memory, trusted
        self.open = 0
        self.of_address: Counter[str] = Counter()

    def admit(self, host: str) -> "OpenCall":
        """Return a call from a host that may go on; end it. Raise Overloaded if too many are open."""
        if self.open >= self.limit:
            raise self.refused("limit", f"{self.open} calls are open, which is the limit")
        address = self.counted_address(host)
        if address and self.of_address[address] >= self.limit_per_address:
            raise self.refused(
                "address_limit", f"your address has {self.limit_per_address} open calls, which is the limit"
            )
        return OpenCall(self, address)

    def counted_address(self, host: str) -> str:
        """Return the address under which a call counts; empty if there is no limit for it."""
        if not self.limit_per_address or (address := parse(host)) is None or is_in(address, self.trusted):
            return ""
        return network_of(address)

    def change_open(self, change: int) -> None:
        """Change the number of open calls."""
        self.open += change
        metrics.open_calls(self.open)

    def refused(self, reason: str, detail: str) -> Overloaded:
        """Count a call that is refused. Return its error."""
        metrics.connection_refused("grpc", reason)
        return Overloaded(detail, retry_after_s=RETRY_AFTER_S)


class OpenCall:
    """A call that counts as open until it has ended, and the memory of its messages on their way."""

    def __init__(self, limits: CallLimits, address: str) -> None:
        self.limits, self.address = limits, address
        self.account = limits.memory.open()
        self.account.__enter__()
        limits.change_open(1)
        if address:
            limits.of_address[address] += 1

    def reserve_window(self) -> int:
        """Reserve what a client may send unasked, and return its size. Raise Overloaded if no memory is left."""
        size_bytes = min(WINDOW_BYTES, self.limits.memory.limit_bytes)
        self.account.reserve(size_bytes)
        return size_bytes

    def end(self) -> None:
        """Count the call no longer, and release its memory."""
        self.account.__exit__(None, None, None)
        self.limits.change_open(-1)
        if self.address:
            self.limits.of_address[self.address] -= 1
            if not self.limits.of_address[self.address]:
                del self.limits.of_address[self.address]
