"""Clients that misbehave cannot hold a frontend: how long a connection may wait, and how many there may be."""

import asyncio
import resource
import socket
import threading
import time
from contextlib import ExitStack, suppress

import pytest

from service import metric_series
from service.rest.connections import Connections, default_limit
from service.settings import Settings
from tests.server import wait_until
from tests.service.core.engines import png
from tests.service.counting import counted
from tests.service.rest.frontends import Frontend, rest, status

LIVE = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
HALF = b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Long: a"
LARGE = b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n"
FLOOD = 600
FILES = 4096


def classify(version: str = "1.1", body: bytes | None = None) -> bytes:
    """Return a request to run an image."""
    body = png() if body is None else body
    return b"POST /classify HTTP/%s\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (version.encode(), len(body)) + body


def refused(reason: str) -> float:
    """Return how many connections were refused or ended for a reason."""
    return counted(metric_series.CONNECTIONS_REFUSED, protocol="http", reason=reason)


def cancelled() -> float:
    """Return how many requests ended since their clients left."""
    return counted(metric_series.REQUESTS, code="cancelled")


@pytest.fixture(autouse=True)
def files():
    """Allow as many open files as the floods need."""
    before = soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, FILES if hard < 0 else min(FILES, hard)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture(scope="module")
def impatient():
    """A frontend that does not wait for clients."""
    with Frontend(header_timeout_s=0.5, idle_timeout_s=1.0, send_timeout_s=0.5) as running:
        yield running


@pytest.fixture(scope="module")
def frontend():
    """A frontend with one thread that decodes."""
    with Frontend(decode_threads=1) as running:
        yield running


# ---------------------------------------------------------------------- time


def test_a_flood_of_half_requests_is_ended_and_others_are_served_meanwhile():
    before = refused("header_timeout")
    with Frontend(header_timeout_s=1.5, max_connections_per_address=0) as frontend, ExitStack() as opened:
        flood = [opened.enter_context(frontend.connect(HALF)) for _ in range(FLOOD)]
        with frontend.connect(LIVE) as other:
            assert status(other) == 200
        assert refused("header_timeout") == before
        answers = [rest(each) for each in flood]
    assert {answer[:12] for answer in answers} == {b"HTTP/1.1 408"}
    assert refused("header_timeout") == before + FLOOD


def test_a_client_that_sends_nothing_is_ended_without_an_answer(impatient):
    with impatient.connect() as connection:
        assert rest(connection) == b""


def test_headers_that_arrive_byte_by_byte_have_no_more_time(impatient):
    with impatient.connect(HALF) as connection:
        connection.settimeout(0.02)
        answer = b""
        while not answer:
            connection.sendall(b"a")
            with suppress(TimeoutError):
                answer = connection.recv(12)
    assert answer == b"HTTP/1.1 408"


def test_the_second_request_of_a_connection_must_be_complete_in_time(impatient):
    with impatient.connect(LIVE) as connection:
        assert status(connection) == 200
        connection.sendall(HALF)
        assert b"HTTP/1.1 408" in rest(connection)


def test_empty_lines_do_not_keep_a_connection(impatient):
    with impatient.connect(LIVE) as connection:
        assert status(connection) == 200
        connection.sendall(b"\r\n")
        assert b"HTTP" not in rest(connection)


def test_a_connection_without_requests_is_closed_in_order(impatient):
    with impatient.connect(LIVE) as connection:
        answer = rest(connection)
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.count(b"HTTP/1.1") == 1


def test_half_a_request_may_wait_for_the_answer_to_the_one_before(impatient):
    impatient.do(impatient.pool.gate.clear)
    with impatient.connect(classify() + LIVE[:10]) as connection:
        connection.settimeout(1.2)  # longer than headers may take
        with pytest.raises(TimeoutError):
            connection.recv(1)
        impatient.do(impatient.pool.gate.set)
        assert status(connection) == 200


# ---------------------------------------------------------------------- clients that do not read


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])  # the connection stays open, or is closed after the answer
def test_an_answer_that_its_client_does_not_fetch_is_dropped(impatient, version):
    before = refused("slow_reader")
    with impatient.connect(LARGE.replace(b"1.1", version), receive_bytes=4096):
        wait_until(lambda: refused("slow_reader") == before + 1, what="the end of the connection")
        wait_until(lambda: impatient.engine.memory.reserved_bytes == 0, what="the memory of the answer")


def test_a_client_that_fetches_slowly_but_steadily_gets_its_answer(impatient):
    before = refused("slow_reader")
    with impatient.connect(LARGE, receive_bytes=2**16) as connection:
        connection.settimeout(5)
        received = 0
        for _ in range(10):
            received += len(connection.recv(2**16))
            time.sleep(0.1)  # as a slow network would
        received += len(rest(connection))
    assert received > 2**24
    assert refused("slow_reader") == before


# ---------------------------------------------------------------------- clients that have finished sending, or left


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_client_that_has_finished_sending_gets_its_answer(frontend, version):
    frontend.do(frontend.pool.gate.clear)
    before = cancelled()
    with frontend.connect(classify(version)) as connection:
        wait_until(lambda: frontend.engine.admission.in_flight == 1, what="the request")
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(0.3)
        if version == "1.1":
            assert connection.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(30)
        frontend.do(frontend.pool.gate.set)
        assert rest(connection).startswith(b"HTTP/1.1 200")
    assert cancelled() == before


def test_a_request_behind_which_another_one_breaks_off_is_answered(frontend):
    frontend.do(frontend.pool.gate.clear)
    with frontend.connect(classify() + LIVE[:10]) as connection:
        wait_until(lambda: frontend.engine.admission.in_flight == 1, what="the request")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        frontend.do(frontend.pool.gate.set)
        assert rest(connection).startswith(b"HTTP/1.1 200")


def test_pipelined_requests_of_a_client_that_has_finished_sending_are_all_answered(frontend):
    with frontend.connect(classify() + classify() + LIVE) as connection:
        connection.shutdown(socket.SHUT_WR)
        assert rest(connection).count(b"HTTP/1.1 200") == 3


def test_a_client_that_leaves_while_it_uploads_is_counted(frontend):
    before = cancelled()
    frontend.connect(classify(body=bytes(1000))[:-1]).close()
    wait_until(lambda: cancelled() == before + 1, what="the count")
    assert frontend.engine.memory.reserved_bytes == 0


def test_the_image_of_a_client_that_leaves_is_not_decoded(frontend):
    free, before = threading.Event(), cancelled()
    frontend.do(
        lambda: frontend.tasks.append(asyncio.create_task(frontend.engine.pipeline.decode_stages.small.run(free.wait)))
    )
    connection = frontend.connect(classify())
    wait_until(lambda: frontend.engine.admission.preparing == 1, what="the image in the queue for a thread")
    asked = len(frontend.pool.asked)
    connection.close()
    wait_until(lambda: cancelled() == before + 1, what="the count")
    assert (frontend.engine.admission.in_flight, frontend.engine.memory.reserved_bytes) == (0, 0)
    free.set()
    with frontend.connect(classify()) as other:
        assert status(other) == 200
    assert len(frontend.pool.asked) == asked + 1


def test_the_sample_of_a_client_that_leaves_is_abandoned(frontend):
    frontend.pool.held, before, abandoned = 1, cancelled(), frontend.pool.abandoned
    connection = frontend.connect(classify())
    wait_until(lambda: frontend.pool.held == 0, what="the sample at the worker")
    connection.close()
    wait_until(lambda: cancelled() == before + 1, what="the count")
    assert (frontend.pool.abandoned, frontend.engine.admission.in_flight) == (abandoned + 1, 0)


# ---------------------------------------------------------------------- number


def test_a_full_frontend_ends_the_connection_that_has_waited_longest():
    before = refused("limit")
    with (
        Frontend(max_connections=2) as frontend,
        frontend.connect() as first,
        frontend.connect() as second,
        frontend.connect(LIVE) as third,
    ):
        assert status(third) == 200
        assert status(first) == 503
        second.sendall(LIVE)
        assert status(second) == 200
    assert refused("limit") == before + 1


def test_a_frontend_whose_connections_all_have_requests_refuses_another():
    with Frontend(max_connections=1) as frontend:
        frontend.do(frontend.pool.gate.clear)
        with frontend.connect(classify()) as first:
            wait_until(lambda: frontend.engine.admission.in_flight == 1, what="the request")
            with frontend.connect() as second:
                answer = rest(second)
            assert answer.startswith(b"HTTP/1.1 503")
            assert b"retry-after: 1" in answer.lower()
            assert b'"code":"unavailable"' in answer
            frontend.do(frontend.pool.gate.set)
            assert status(first) == 200


def test_connections_that_are_closed_make_room(frontend):
    for _ in range(50):
        frontend.connect().close()
    wait_until(lambda: counted(metric_series.OPEN_CONNECTIONS) == 0, what="no open connection")


class Named:
    """A connection of an account, and what has happened to it."""

    def __init__(self) -> None:
        self.ended = ""

    def end(self, reason: str) -> None:
        self.ended = reason


def opened(connections: Connections, *addresses: str) -> list[Named]:
    """Open connections from these addresses, and return those for which there was room."""
    return [each for address in addresses if connections.open(each := Named(), address) is None]


def busy(connections: Connections, *addresses: str) -> list[Named]:
    """Open connections from these addresses, each of which has a request."""
    found = list[Named]()
    for address in addresses:
        for each in opened(connections, address):
            connections.stop_waiting(each)
            found.append(each)
    return found


@pytest.fixture
def connections():
    return Connections(Settings(max_connections=10, max_connections_per_address=2, trusted_proxies="10.9.0.0/16"))


@pytest.mark.parametrize(
    ("addresses", "room"),
    [
        (["10.0.0.1"] * 3, 2),
        (["10.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.2"], 4),
        (["10.0.0.1", "::ffff:10.0.0.1", "10.0.0.1"], 2),
        (["2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::"], 2),
        (["2001:db8:0:1::1", "2001:db8:0:2::1", "2001:db8:0:3::1"], 3),
        (["10.9.0.1"] * 5, 5),
        ([""] * 5, 5),
        (["10.9.0.1"] * 11, 10),
    ],
    ids=["an address", "addresses", "mapped", "a network of IPv6", "networks of IPv6", "a proxy", "unknown", "all"],
)
def test_each_address_has_room_for_its_own_connections(connections, addresses, room):
    assert len(busy(connections, *addresses)) == room


def test_a_full_address_ends_its_own_connection_that_has_waited_longest(connections):
    (other,) = opened(connections, "10.0.0.2")
    first, second = opened(connections, "10.0.0.1", "10.0.0.1")
    connections.stop_waiting(first)
    connections.wait(first)  # after its answer
    assert len(opened(connections, "10.0.0.1")) == 1
    assert (other.ended, first.ended, second.ended) == ("", "", "address_limit")


def test_the_account_of_an_address_ends_with_its_last_connection(connections):
    found = opened(connections, *(f"10.0.0.{number}" for number in range(10)))
    for each in found:
        connections.close(each)
        connections.close(each)  # as both ends may
    assert (connections.everyone.open, connections.by_network, connections.accounts) == (0, {}, {})


def test_without_a_limit_an_address_has_as_many_connections_as_there_may_be():
    connections = Connections(Settings(max_connections=600, max_connections_per_address=0))
    assert len(busy(connections, *["10.0.0.1"] * 601)) == 600


def test_the_default_leaves_files_for_other_uses():
    assert 0 < default_limit() < resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_the_default_has_room_for_a_benchmark_with_many_connections():
    connections = Connections(Settings())
    assert len(busy(connections, *["127.0.0.1"] * 500)) == 500
