"""What one connection collects of a request is bounded, however it arrives."""

import asyncio

import pytest
import uvicorn
from uvicorn.server import ServerState

from service.core.engine import Engine
from service.rest.connections import Connections
from service.rest.head import MAX_HEAD_BYTES
from service.rest.protocol import Protocol
from service.settings import Settings
from tests.service.core.engines import FakePool

PIECE = 1000
HEAD = b"POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "a target": b"GET /",
    "the name of a header": b"GET / HTTP/1.1\r\nHost: x\r\n",
    "a header": b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: ",
    "a chunk's extension": HEAD + b"5;a=",
    "a trailer": HEAD + b"5\r\nhello\r\n0\r\nX-Long: ",
}


class Transport(asyncio.Transport):
    """A connection that records what is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent, self.closed = b"", False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def write(self, data: bytes) -> None:
        self.sent += data

    def close(self) -> None:
        self.closed = True

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


@pytest.fixture
async def connection():
    """A connection to an application that reads nothing."""

    async def application(scope, receive, send) -> None:
        await asyncio.Event().wait()

    config = uvicorn.Config(application, lifespan="off", log_config=None)
    config.load()
    engine, state = Engine(Settings(), FakePool()), ServerState()
    protocol = Protocol(engine, Connections(engine.settings), config=config, server_state=state, app_state={})
    protocol.connection_made(Transport())
    yield protocol
    for task in protocol.tasks:
        task.cancel()


@pytest.mark.parametrize("case", ENDLESS)
async def test_what_never_ends_is_refused(connection, case):
    connection.data_received(ENDLESS[case])
    fed = 0
    while not connection.transport.closed and fed < 2 * MAX_HEAD_BYTES:
        connection.data_received(b"a" * PIECE)
        fed += PIECE
    assert connection.transport.sent.startswith(b"HTTP/1.1 431 ")
    assert fed <= MAX_HEAD_BYTES + PIECE


async def test_long_headers_are_refused_also_if_they_arrive_in_one_piece_with_a_body(connection):
    long = b"x" * (MAX_HEAD_BYTES + 1)
    connection.data_received(b"POST / HTTP/1.1\r\nContent-Length: 1\r\nX-Long: " + long + b"\r\n\r\n1")
    assert connection.transport.sent.startswith(b"HTTP/1.1 431")


async def test_a_long_body_in_small_chunks_is_not_refused(connection):
    connection.data_received(HEAD)
    for _ in range(MAX_HEAD_BYTES):
        connection.data_received(b"2\r\nab\r\n")
        connection.cycle.body.clear()
    assert not connection.transport.closed


async def test_nothing_is_read_after_a_refusal(connection):
    connection.data_received(b"nonsense\r\n\r\n")
    sent = connection.transport.sent
    connection.data_received(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    assert connection.transport.sent == sent
    assert connection.cycle is None


async def answered(connection: Protocol) -> Protocol:
    """Return the connection after a refusal that does not wait for the body."""
    connection.data_received(HEAD + b"5\r\nhello\r\n")
    await connection.cycle.send({"type": "http.response.start", "status": 429, "headers": [(b"content-length", b"0")]})
    await connection.cycle.send({"type": "http.response.body"})
    return connection


async def test_a_body_that_goes_on_after_the_answer_does_not_keep_the_connection(connection):
    idle = (await answered(connection)).timeout_keep_alive_task
    connection.data_received(b"5\r\nhello\r\n")
    connection.data_received(b"0\r\n\r\n")
    assert connection.timeout_keep_alive_task is idle
    assert not idle.cancelled()


async def test_the_next_request_keeps_a_connection_whose_last_body_went_on(connection):
    idle = (await answered(connection)).timeout_keep_alive_task
    connection.data_received(b"0\r\n\r\n" + HEAD)
    assert idle.cancelled()


async def test_a_malformed_rest_of_a_body_gets_no_second_answer(connection):
    await answered(connection)
    sent = connection.transport.sent
    connection.data_received(b"zz\r\n")
    assert (connection.transport.sent, connection.transport.closed) == (sent, True)
