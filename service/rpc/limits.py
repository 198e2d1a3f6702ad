"""The limits of the gRPC port: what the library enforces on connections, and how many calls may be open.

The library refuses streams, frames and metadata beyond its limits before this process sees a call. The calls that it
hands over are counted here, before their messages are received.
"""

import resource
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from service import metrics
from service.access.address import Network, is_in, network_of, parse
from service.core.memory import MemoryBudget
from service.errors import Overloaded
from service.rpc.methods import Kind
from service.settings import Settings
from service.tls import HANDSHAKE_S

FRAMING_BYTES = (
    64 * 2**10
)  # beyond the limit of bodies, so that the service rejects a large image before the library does
WINDOW_BYTES = 64 * 2**10  # of a message that arrive before the service asks for it
SHORT_RECEIVE_S = 2.0  # for a message that is small, so that a client which never sends it takes no room for long
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
    "grpc.server_handshake_timeout_ms": round(1000 * HANDSHAKE_S),
}
"""The options of the library that do not depend on settings."""


def server_options(settings: Settings) -> list[tuple[str, int]]:
    """Return the options of the library."""
    options = {
        **CONNECTION_OPTIONS,
        "grpc.max_receive_message_length": settings.max_body_bytes + FRAMING_BYTES,
        "grpc.max_allowed_incoming_connections": max_connections(),
    }
    return list(options.items())


def max_connections() -> int:
    """Return how many connections may be open, so that floods of them leave open files for HTTP and the workers."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(int(files * SHARE_OF_FILES), MOST_CONNECTIONS) if files >= 0 else MOST_CONNECTIONS


@dataclass(frozen=True)
class Limit:
    """How many calls of a kind may be open, and what each may take until its message has arrived."""

    calls: str  # what they are called in errors
    in_all: int
    per_address: int  # 0: no limit
    reasons: tuple[str, str]  # why a call is refused beyond either of them, in metrics
    receive_s: float
    window_bytes: int  # that are reserved


def limits_by_kind(settings: Settings) -> dict[Kind, Limit]:
    """Return the limit of each kind of calls. One kind cannot use up the room of another."""
    most, per_address = settings.max_calls, settings.max_calls_per_address
    window = min(WINDOW_BYTES, settings.max_held_bytes)
    keyless, probe = ("keyless_limit", "keyless_address_limit"), ("probe_limit", "probe_address_limit")
    return {
        "keyed": Limit("calls", most, per_address, ("limit", "address_limit"), settings.request_timeout_s, window),
        "keyless": Limit("calls that need no key", 256, 32, keyless, SHORT_RECEIVE_S, window),
        "probe": Limit("checks of health", 512, 32, probe, SHORT_RECEIVE_S, 0),
    }


class CallLimits:
    """Counts the open calls of each kind, in all and of each address."""

    def __init__(self, settings: Settings, memory: MemoryBudget, trusted: Sequence[Network]) -> None:
        self.by_kind = limits_by_kind(settings)
        self.memory, self.trusted = memory, trusted
        self.open_of: Counter[Kind] = Counter()
        self.of_address: Counter[tuple[Kind, str]] = Counter()

    @property
    def open(self) -> int:
        """Return how many calls are open, without probes."""
        return self.open_of["keyed"] + self.open_of["keyless"]

    def admit(self, host: str, kind: Kind = "keyed") -> "OpenCall":
        """Return a call from a host that may go on; end it. Raise Overloaded if too many are open."""
        limit = self.by_kind[kind]
        in_all, of_address = limit.reasons
        if self.open_of[kind] >= limit.in_all:
            raise self.refused(in_all, f"{self.open_of[kind]} {limit.calls} are open, which is the limit")
        address = self.counted_address(host, limit)
        if address and self.of_address[kind, address] >= limit.per_address:
            raise self.refused(
                of_address, f"your address has {limit.per_address} open {limit.calls}, which is the limit"
            )
        return OpenCall(self, kind, address)

    def counted_address(self, host: str, limit: Limit) -> str:
        """Return the address under which a call counts; empty if there is no limit for it."""
        if not limit.per_address or (address := parse(host)) is None or is_in(address, self.trusted):
            return ""
        return network_of(address)

    def change_open(self, kind: Kind, change: int) -> None:
        """Change the number of open calls."""
        self.open_of[kind] += change
        metrics.open_calls(self.open)

    def refused(self, reason: str, detail: str) -> Overloaded:
        """Count a call that is refused. Return its error."""
        metrics.connection_refused("grpc", reason)
        return Overloaded(detail, retry_after_s=RETRY_AFTER_S)


class OpenCall:
    """A call that counts as open until it has ended, and the memory of its messages on their way."""

    def __init__(self, limits: CallLimits, kind: Kind, address: str) -> None:
        self.limits, self.kind, self.address = limits, kind, address
        self.limit = limits.by_kind[kind]
        self.account = limits.memory.open()
        self.account.__enter__()
        limits.change_open(kind, 1)
        if address:
            limits.of_address[kind, address] += 1

    def reserve_window(self) -> None:
        """Reserve what a client may send unasked. Raise Overloaded if no memory is left."""
        if self.limit.window_bytes:
            self.account.reserve(self.limit.window_bytes)

    def release_window(self) -> None:
        """Release what was reserved, since the message has arrived."""
        self.account.release(self.limit.window_bytes)

    def end(self) -> None:
        """Count the call no longer, and release its memory."""
        self.account.__exit__(None, None, None)
        self.limits.change_open(self.kind, -1)
        if self.address:
            counted = self.kind, self.address
            self.limits.of_address[counted] -= 1
            if not self.limits.of_address[counted]:
                del self.limits.of_address[counted]
