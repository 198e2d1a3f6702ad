"""Middleware for every HTTP request: its id, headers, HEAD, trailing slashes, and connections while stopping."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access.address import Network, client_address
from service.core.call import Outcome
from service.core.engine import Engine
from service.core.ids import choose_id
from service.core.request_log import log_request
from service.errors import Cancelled
from service.rest.peer import PEER, Peer
from service.rest.protection import protected
from service.tracing.context import CURRENT, TraceContext

MALFORMED = "malformed"  # the key in a request's state for the parser's message about a malformed body
OUTCOME = "outcome"  # the key in a request's state of the outcome to log
TRACE = "trace"  # the key in a request's state of its span
FIELDS = "fields"  # the key in a request's state of its headers by name
MAX_PATH = 200  # characters of an unknown path in the log
BUFFER_BYTES = 2**16  # of a body that the server buffers before it waits for the client


@dataclass
class TransferSizes:
    """The sizes of the bodies of a request and its response, and the status."""

    status: int = 0
    bytes_in: int = 0
    bytes_out: int = 0

    def count_received(self, message: Message) -> None:
        """Count a message of the request."""
        self.bytes_in += len(message.get("body", b""))

    def count_sent(self, message: Message) -> None:
        """Count a message of the response."""
        self.status = message.get("status", self.status)
        self.bytes_out += len(message.get("body", b""))


class RequestScope:
    """Give each request an id, the client's if it is harmless, return it with the response, and log the request.

    While the service stops, every response closes its connection, so that no client is cut off between two requests.
    """

    def __init__(self, app: ASGIApp, engine: Engine) -> None:
        self.app, self.engine = app, engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an ASGI request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        request_id = state.setdefault("request_id", choose_id(given_id(scope["headers"])))

        trace = state[TRACE] = self.engine.tracer.begin(given(scope["headers"], b"traceparent"))
        CURRENT.set(trace)  # also if it is None: this task may have begun in that of an earlier request

        peer = state.setdefault(PEER, Peer())  # the protocol's own, which knows when the client disconnects
        sizes = TransferSizes()

        async def receive_counted() -> Message:
            message = await receive()
            sizes.count_received(message)
            return message

        async def send_with_headers(message: Message) -> None:
            sizes.count_sent(message)
            memory.count(len(message.get("body", b"")))
            if message["type"] == "http.response.start":
                headers = [*protected(message["headers"]), (b"x-request-id", request_id.encode())]
                if trace is not None:
                    headers.append((b"traceresponse", trace.header.encode()))
                if self.engine.stopping:
                    headers = [*(pair for pair in headers if pair[0] != b"connection"), (b"connection", b"close")]
                message["headers"] = headers
            try:
                await send_and_wait(message, send)
            except RuntimeError:  # of the event loop: the connection is closed
                if not peer.is_closing():
                    raise

        try:
            with self.engine.memory.open() as memory:  # of the response, until the client has fetched it
                await self.app(routed(scope), receive_counted, send_with_headers)
        finally:
            if (outcome := state.get(OUTCOME)) is not None:  # probes of health and metrics have none
                outcome.status = str(sizes.status)
                outcome.bytes_in = sizes.bytes_in
                unsent = scope["method"] == "HEAD" or outcome.code == Cancelled.code  # the client has gone
                outcome.bytes_out = 0 if unsent else sizes.bytes_out
                log_request(outcome)


async def send_and_wait(message: Message, send: Send) -> None:
    """Send a message. Return after a long body when the client has fetched most of it, or has disconnected.

    The server waits for the client before it takes a message, not after it. An empty message therefore comes last.
    """
    if len(message.get("body", b"")) > BUFFER_BYTES and not message.get("more_body", False):
        await send({**message, "more_body": True})
        message = {"type": "http.response.body", "body": b"", "more_body": False}
    await send(message)


def routed(scope: Scope) -> Scope:
    """Return the scope by which a request is routed: HEAD as GET, and without `/v1` and a slash at the end of the path.

    The server leaves out the body of the response to HEAD, since its own scope keeps the method.
    """
    method = "GET" if scope["method"] == "HEAD" else scope["method"]
    path = scope["path"].removeprefix("/v1") if scope["path"].startswith("/v1/") else scope["path"]
    return {**scope, "method": method, "path": path.rstrip("/") or "/"}


def given_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the id that the client chose for its request, or an empty text."""
    return given(headers, b"x-request-id")


def given(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> str:
    """Return the first value of a header, or an empty text."""
    return next((value.decode("latin-1") for name, value in headers if name == wanted), "")


def fields(request: Request) -> Mapping[str, str]:
    """Return the headers of a request by name in lower case. Those of one name are joined by commas (RFC 9110, 5.3)."""
    state = request.scope.setdefault("state", {})
    if FIELDS not in state:
        found = state[FIELDS] = dict[str, str]()
        for name, value in request.scope["headers"]:
            key, text = name.decode("latin-1"), value.decode("latin-1")
            found[key] = f"{found[key]},{text}" if key in found else text
    return cast("Mapping[str, str]", state[FIELDS])


def request_id(request: Request) -> str:
    """Return the id of a request."""
    return str(request.state.request_id)


def trace(request: Request) -> TraceContext | None:
    """Return the span of a request, if it has one."""
    return cast("TraceContext | None", request.scope["state"].get(TRACE))


def keep_outcome(request: Request, outcome: Outcome) -> None:
    """Keep the outcome of a request until its response is sent."""
    setattr(request.state, OUTCOME, outcome)


def address(request: Request, trusted: Sequence[Network]) -> str:
    """Return the address of the client of a request, behind trusted proxies."""
    peer = request.client.host if request.client else ""
    return client_address(peer, fields(request).get("x-forwarded-for", ""), trusted)


def path(request: Request) -> str:
    """Return the path of a request's route, or the path itself if it has none, percent-encoded as it came."""
    route = request.scope.get("route")
    return str(getattr(route, "path", "") or request.scope["raw_path"].decode("ascii", "replace")[:MAX_PATH])


def timeout_s(request: Request) -> float | None:
    """Return the client's timeout from `X-Request-Timeout`; nan, which the engine refuses, if it is not positive."""
    text = fields(request).get("x-request-timeout")
    try:
        seconds = None if text is None else float(text)
    except ValueError:
        return math.nan
    return seconds if seconds is None or seconds > 0 else math.nan


def key(request: Request) -> str | None:
    """Return the API key of a request, from a bearer token or from X-API-Key."""
    scheme, _, token = fields(request).get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    given = fields(request).get("x-api-key")
    return given.strip() if given else given
