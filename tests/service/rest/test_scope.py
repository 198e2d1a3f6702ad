"""What every request gets around its handler."""

import pytest

from service.core.engine import Engine
from service.rest.peer import PEER, Peer
from service.rest.scope import RequestScope
from service.settings import Settings
from tests.service.core.engines import FakePool


async def answer(scope, receive, send) -> None:
    """Answer as an application does."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"answer"})


async def fail(message) -> None:
    """Fail as the event loop does when a connection is closed."""
    raise RuntimeError("the handler is closed")


async def serve(*, is_closing: bool) -> None:
    """Answer a request over a connection on which nothing can be sent."""
    peer = Peer(is_closing=lambda: is_closing)
    scope = {"type": "http", "method": "GET", "path": "/", "raw_path": b"/", "headers": [], "state": {PEER: peer}}
    await RequestScope(answer, Engine(Settings(), FakePool()))(scope, None, fail)


async def test_an_answer_is_dropped_if_the_connection_is_closed_meanwhile():
    await serve(is_closing=True)


async def test_another_error_of_sending_is_one_of_the_service():
    with pytest.raises(RuntimeError):
        await serve(is_closing=False)
