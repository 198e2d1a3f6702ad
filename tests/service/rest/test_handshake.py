"""Connections over TLS: they count from their start, give way to others, and end with their last byte."""

import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from service import metric_series
from tests.certificates import Authority
from tests.server import wait_until
from tests.service.counting import counted
from tests.service.rest.frontends import LARGE_BYTES, Frontend, rest, status

LIVE = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
LARGE = b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
UPLOAD = b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "ca")


def secure(authority: Authority, **settings: object) -> Frontend:
    """Return a frontend with TLS."""
    pair = authority.issue("service")
    return Frontend(tls_certificate=pair.certificate, tls_key=pair.key, **settings)


def wrap(opened: socket.socket, authority: Authority) -> ssl.SSLSocket:
    """Return the connection after its handshake, over which the end of the other side needs no confirmation."""
    return authority.trusting().wrap_socket(opened, server_hostname="localhost", suppress_ragged_eofs=True)


def open_connections() -> float:
    """Return how many connections are open."""
    return counted(metric_series.OPEN_CONNECTIONS)


@pytest.fixture
def frontend(authority) -> Iterator[Frontend]:
    """Return a frontend with room for two connections, which closes them soon."""
    with secure(authority, max_connections=2, idle_timeout_s=1.0) as running:
        yield running


def test_a_connection_that_is_silent_before_its_handshake_counts_and_gives_way(frontend, authority):
    with frontend.connect() as silent, frontend.connect() as second:
        wait_until(lambda: open_connections() == 2, what="both connections to count")
        with wrap(frontend.connect(), authority) as third:
            third.sendall(LIVE)
            assert status(third) == 200
            assert rest(silent) == b""
            assert open_connections() == 2
        with wrap(second, authority) as late:
            late.sendall(LIVE)
            assert status(late) == 200


def test_a_handshake_that_fails_no_longer_counts(frontend):
    with frontend.connect(b"GET / HTTP/1.1\r\n\r\n") as plain:
        rest(plain)
    wait_until(lambda: open_connections() == 0, what="no open connection")


@pytest.mark.parametrize("sent", [LAST, LIVE], ids=["close", "idle"])
def test_a_connection_ends_though_its_client_does_not_confirm_the_end(frontend, authority, sent):
    with wrap(frontend.connect(), authority) as connection:
        connection.sendall(sent)
        assert status(connection) == 200
        wait_until(lambda: open_connections() == 0, what="the end", timeout_s=4)


def test_a_connection_that_gives_way_is_closed_at_once(frontend, authority):
    with wrap(frontend.connect(), authority) as first, wrap(frontend.connect(), authority) as second:
        first.sendall(LIVE)
        assert status(first) == 200
        second.sendall(LIVE)
        assert status(second) == 200
        protocols = []
        frontend.do(lambda: protocols.append(len(frontend.server.server_state.connections)))
        with wrap(frontend.connect(), authority) as third:
            third.sendall(LIVE)
            assert status(third) == 200
            frontend.do(lambda: protocols.append(len(frontend.server.server_state.connections)))
    assert protocols == [2, 2]


def test_the_last_answer_arrives_in_full(frontend, authority):
    with wrap(frontend.connect(), authority) as connection:
        connection.sendall(LARGE)
        assert rest(connection).endswith(bytes(LARGE_BYTES))


KEPT = LARGE.replace(b"Connection: close\r\n", b"")
LONG_S = 6.0  # for an answer: longer than a client may usually take to confirm the end of TLS


@pytest.fixture(scope="module")
def impatient(authority) -> Iterator[Frontend]:
    """A frontend that does not wait for clients which fetch nothing."""
    with secure(authority, idle_timeout_s=1.0, send_timeout_s=0.5) as running:
        yield running


def slow_readers() -> float:
    """Return how many connections were ended since their clients fetched too little."""
    return counted(metric_series.CONNECTIONS_REFUSED, protocol="http", reason="slow_reader")


def test_a_client_that_fetches_its_last_answer_slowly_but_steadily_gets_it(impatient, authority):
    before = slow_readers()
    with wrap(impatient.connect(receive_bytes=2**16), authority) as connection:
        connection.sendall(LARGE)
        received, until = 0, time.monotonic() + LONG_S
        while time.monotonic() < until:
            received += len(connection.recv(2**14))
            time.sleep(0.05)  # as a slow network would
        assert received + len(rest(connection)) > LARGE_BYTES
    assert slow_readers() == before


@pytest.mark.parametrize("sent", [LARGE, KEPT], ids=["close", "keep"])
def test_a_client_that_fetches_nothing_of_its_answer_is_cut_off(impatient, authority, sent):
    before = slow_readers()
    with wrap(impatient.connect(receive_bytes=4096), authority) as connection:
        connection.sendall(sent)
        wait_until(lambda: slow_readers() == before + 1, what="the end of the connection", timeout_s=4)
        wait_until(lambda: open_connections() == 0, what="no open connection")


@pytest.mark.parametrize(
    "how", [ssl.SSLSocket.unwrap, lambda opened: opened.shutdown(socket.SHUT_WR)], ids=["TLS", "TCP"]
)
def test_a_client_that_ends_tls_and_fetches_nothing_is_cut_off(impatient, authority, how):
    with wrap(impatient.connect(receive_bytes=4096), authority) as connection:
        connection.sendall(KEPT)
        assert status(connection) == 200
        connection.settimeout(0)
        with suppress(ssl.SSLError):  # the answer comes after the end
            how(connection)
        wait_until(lambda: open_connections() == 0, what="no open connection", timeout_s=4)


def test_an_upload_that_arrives_with_the_end_of_the_handshake_is_read(frontend, authority):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = authority.trusting().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with frontend.connect() as connection:
        while True:
            try:
                client.do_handshake()
            except ssl.SSLWantReadError:
                connection.sendall(outgoing.read())
                incoming.write(connection.recv(2**16))
            else:
                break
        body = bytes(2**20)
        client.write(UPLOAD % len(body) + body)
        with ThreadPoolExecutor(1) as thread:  # the loop finds everything in the buffer of the system
            blocked = thread.submit(frontend.do, lambda: time.sleep(0.3))
            connection.sendall(outgoing.read())
            blocked.result()
        while True:
            incoming.write(connection.recv(2**16))
            try:
                answer = client.read(2**16)
            except ssl.SSLWantReadError:
                continue
            break
    assert answer.startswith(b"HTTP/1.1 405")


def test_a_stop_waits_for_a_request_behind_a_handshake(authority):
    with secure(authority) as frontend, frontend.connect() as opened:
        wait_until(lambda: open_connections() == 1, what="the connection")
        frontend.loop.call_soon_threadsafe(frontend.stopped.set)
        time.sleep(0.6)  # longer than a stop waits for requests over connections that have had one
        with wrap(opened, authority) as connection:
            connection.sendall(LIVE)
            assert status(connection) == 200
