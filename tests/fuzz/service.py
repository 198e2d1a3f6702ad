"""The service in one process, over a pool without workers. An error that clients would see as internal is raised."""

import asyncio
import os
from collections.abc import Iterable
from functools import partial

import structlog

from service.core.call import Outcome
from service.core.engine import Engine
from service.dialects import routes as dialects
from service.errors import Internal, ServiceError
from service.logs import render_json
from service.oip import routes as oip
from service.rest.app import build
from service.settings import Settings
from service.web import pages
from tests.service.core.engines import FakePool

SETTINGS = Settings(max_body_bytes=2**16, max_pixels=2**16, max_images=4, max_held_bytes=2**26, predict_route="/vertex")
LOOP = asyncio.new_event_loop()
structlog.configure(  # lines are made as the service makes them, and written nowhere
    processors=[partial(render_json, "fuzzer")],
    logger_factory=structlog.WriteLoggerFactory(open(os.devnull, "w", encoding="utf-8")),  # noqa: PTH123 - kept open
)


class StrictEngine(Engine):
    """An engine that raises unexpected errors instead of logging them."""

    def service_error(self, error: Exception, outcome: Outcome) -> ServiceError:
        """Return the error that a client sees. Raise an unexpected one."""
        found = super().service_error(error, outcome)
        if type(found) is Internal:
            raise error
        return found


async def start() -> StrictEngine:
    """Return the engine, which needs an event loop."""
    return StrictEngine(SETTINGS, FakePool())


ENGINE = LOOP.run_until_complete(start())
APPLICATION = build(ENGINE)
for add in (oip.add, dialects.add, pages.add):
    add(APPLICATION, ENGINE)


def post(path: str, query: bytes, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> int:
    """Send a request to the application, and return the status of the response."""
    scope = {
        **{"type": "http", "http_version": "1.1", "scheme": "http", "method": "POST", "root_path": ""},
        **{"path": path, "raw_path": path.encode("ascii", "replace"), "query_string": query, "headers": list(headers)},
        **{"client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2)},
    }
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])
    statuses: list[int] = []

    async def receive() -> dict:
        return next(messages, {"type": "http.disconnect"})

    async def send(message: dict) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    LOOP.run_until_complete(APPLICATION(scope, receive, send))
    assert statuses[0] != 500
    return statuses[0]
