"""The account of the open connections of a frontend, and what a client reads whose connection a limit ends."""

import resource
from collections import OrderedDict
from http import HTTPStatus
from typing import Literal, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from service import metrics
from service.access.address import is_in, network_of, parse
from service.errors import Overloaded, ServiceError, Unavailable
from service.rest import problems
from service.rest.protection import protect
from service.settings import Settings

Reason = Literal["limit", "address_limit", "header_timeout", "slow_reader"]

RETRY_AFTER_S = 1
SHARE_OF_FILES = 0.75  # of the open files of a process: gRPC and the other processes need some as well


class Connection(Protocol):
    """A connection, as its account knows it."""

    def end(self, reason: Reason) -> None:
        """End the connection, which has no request."""


class Account:
    """The open connections that one limit covers. Those that wait for a request can make room for others."""

    def __init__(self, reason: Reason, limit: int, network: str = "") -> None:
        self.reason, self.limit, self.network = reason, limit, network
        self.open = 0
        self.waiting: OrderedDict[Connection, None] = OrderedDict()  # the longest wait comes first

    @property
    def full(self) -> bool:
        """Return whether there is no room for another connection."""
        return self.open >= self.limit > 0


class Connections:
    """The open connections of a frontend, and of each address."""

    def __init__(self, settings: Settings) -> None:
        self.everyone = Account("limit", settings.max_connections or default_limit())
        self.limit_per_address = settings.max_connections_per_address
        self.trusted = settings.trusted_networks
        self.by_network: dict[str, Account] = {}
        self.accounts: dict[Connection, tuple[Account, ...]] = {}

    def open(self, connection: Connection, address: str) -> Reason | None:
        """Add a connection, which waits for a request. Return the reason if there is no room for it.

        A full account ends the connection that has waited longest for a request, so that clients which send none
        cannot lock out others.
        """
        accounts = (*self.account_of(address), self.everyone)
        for account in accounts:
            if account.full and not self.make_room(account):
                return account.reason
        self.accounts[connection] = accounts
        for account in accounts:
            account.open += 1
            if account.network:
                self.by_network[account.network] = account
        self.wait(connection)
        metrics.open_connections(self.everyone.open)
        return None

    def account_of(self, address: str) -> tuple[Account, ...]:
        """Return the account of an address; none for a trusted proxy, which serves many clients."""
        found = parse(address)
        if found is None or is_in(found, self.trusted):
            return ()
        network = network_of(found)
        return (self.by_network.get(network) or Account("address_limit", self.limit_per_address, network),)

    def make_room(self, account: Account) -> bool:
        """End the connection of an account that has waited longest for a request. Return whether there was one."""
        if not account.waiting:
            return False
        oldest = next(iter(account.waiting))
        self.close(oldest)
        oldest.end(account.reason)
        return True

    def wait(self, connection: Connection) -> None:
        """Record that a connection waits for a request."""
        for account in self.accounts.get(connection, ()):
            account.waiting[connection] = None

    def stop_waiting(self, connection: Connection) -> None:
        """Record that a connection has a request."""
        for account in self.accounts.get(connection, ()):
            account.waiting.pop(connection, None)

    def close(self, connection: Connection) -> None:
        """Remove a connection, unless it has been removed already."""
        for account in self.accounts.pop(connection, ()):
            account.open -= 1
            account.waiting.pop(connection, None)
            if account.network and not account.open:
                del self.by_network[account.network]
        metrics.open_connections(self.everyone.open)


def default_limit() -> int:
    """Return the number of connections that the limit of open files has room for; 0 if there is no such limit."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 0 if files == resource.RLIM_INFINITY else int(SHARE_OF_FILES * files)


def answer(status: HTTPStatus, problem: problems.Problem, headers: dict[str, str]) -> bytes:
    """Return a problem as the whole and last response of a connection."""
    response = protect(problems.encode(problem, {**headers, "Connection": "close"}))
    lines = [b": ".join(header) for header in response.raw_headers]
    return STATUS_LINE[status] + b"\r\n".join([*lines, b"", bytes(response.body)])


def refusal(error: ServiceError) -> bytes:
    """Return an error as the only response of a connection. It belongs to no request, so it has no id."""
    return answer(HTTPStatus(problems.status(error)), problems.describe(error, ""), problems.headers(error))


ANSWERS: dict[Reason, bytes] = {
    "limit": refusal(Unavailable("too many connections are open", retry_after_s=RETRY_AFTER_S)),
    "address_limit": refusal(Overloaded("too many connections are open from one address", retry_after_s=RETRY_AFTER_S)),
    "header_timeout": answer(
        HTTPStatus.REQUEST_TIMEOUT,
        problems.describe_status(HTTPStatus.REQUEST_TIMEOUT, "", "the headers of the request did not arrive in time"),
        {},
    ),
}
"""What a client reads, encoded once: a flood of connections must cost next to nothing."""
