"""The address of a client behind proxies, of which only trusted ones count."""

from ipaddress import ip_network

import pytest

from service.access.address import client_address

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]

CASES = {
    "no proxy": ("192.0.2.1", "", "192.0.2.1"),
    "an untrusted client that claims to be a proxy": ("192.0.2.1", "198.51.100.7", "192.0.2.1"),
    "one trusted proxy": ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
    "a client that forges the header": ("10.0.0.1", "203.0.113.9, 198.51.100.7", "198.51.100.7"),
    "two trusted proxies": ("10.0.0.1", "198.51.100.7, 10.0.0.2", "198.51.100.7"),
    "trusted proxies alone": ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
    "a trusted proxy without the header": ("10.0.0.1", "", "10.0.0.1"),
    "an entry that is no address": ("10.0.0.1", "198.51.100.7, unknown, 10.0.0.2", "10.0.0.2"),
    "entries with ports": ("10.0.0.1", "198.51.100.7:1234, [fd00::1]:80", "198.51.100.7"),
    "IPv6": ("fd00::1", "2001:db8::7", "2001:db8::7"),
    "IPv4 on an IPv6 socket": ("::ffff:10.0.0.1", "198.51.100.7", "198.51.100.7"),
    "a peer of gRPC": ("10.0.0.1:5000", "198.51.100.7", "198.51.100.7"),
    "a peer of gRPC over IPv6": ("[fd00::1]:5000", "2001:db8::7", "2001:db8::7"),
    "a peer that is no address": ("", "198.51.100.7", ""),
}


@pytest.mark.parametrize("case", CASES)
def test_the_client_is_the_rightmost_address_that_is_not_a_trusted_proxy(case):
    peer, forwarded, client = CASES[case]
    assert client_address(peer, forwarded, TRUSTED) == client


def test_without_trusted_proxies_the_header_is_ignored():
    assert client_address("10.0.0.1", "198.51.100.7", []) == "10.0.0.1"
