"""The address of a client, behind any trusted proxies."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

CLIENT_PREFIX = 64  # bits


def client_address(peer: str, forwarded: str, trusted: Sequence[Network]) -> str:
    """Return the address of the client at the other end of a connection from `peer`.

    Each proxy appends the address that it serves to `forwarded`, the value of X-Forwarded-For. Only a trusted proxy is
    believed, so the client is the right-most address that is not one.
    """
    client = peer
    for hop in (peer, *reversed(forwarded.split(","))):
        if (address := parse(hop)) is None:
            break
        client = str(address)
        if not is_in(address, trusted):
            break
    return client


def is_in(address: Address, networks: Iterable[Network]) -> bool:
    """Return whether one of the networks has the address."""
    return any(address in network for network in networks)


def network_of(address: Address) -> str:
    """Return what stands for one client: an address, or a network of IPv6, since a client gets 64 bits of addresses."""
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, CLIENT_PREFIX), strict=False))
    return str(address)


@lru_cache(maxsize=4096)  # a client sends many requests
def parse(text: str) -> Address | None:
    """Return an address that may have a port, as `10.0.0.1:80` or `[::1]:80`; None if it is not one."""
    host = text.strip()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
