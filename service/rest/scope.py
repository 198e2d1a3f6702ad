"""Middleware for every HTTP request: its id, HEAD, trailing slashes, and the end of connections while stopping."""

import math

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.core.engine import Engine
from service.core.ids import choose_id

MALFORMED = "malformed"  # the key in a request's state under which the parser says what is wrong with the body


class RequestScope:
    """Give each request an id, the client's if it is harmless, and return it with the response.

    While the service stops, every response closes its connection, so that no client is cut off between two requests.
    """

    def __init__(self, app: ASGIApp, engine: Engine) -> None:
        self.app, self.engine = app, engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request as ASGI has it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        request_id = state.setdefault("request_id", choose_id(given_id(scope["headers"])))

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                if self.engine.stopping:
                    headers["Connection"] = "close"
            await send(message)

        await self.app(routed(scope), receive, send_with_headers)


def routed(scope: Scope) -> Scope:
    """Return the scope by which a request is routed: HEAD as GET, and without a slash at the end of the path.

    The server leaves out the body of the response to HEAD, since its own scope keeps the method.
    """
    method = "GET" if scope["method"] == "HEAD" else scope["method"]
    return {**scope, "method": method, "path": scope["path"].rstrip("/") or "/"}


def given_id(headers: list[tuple[bytes, bytes]]) -> str:
    """Return the id that the client chose for its request, or an empty text."""
    return Headers(raw=headers).get("x-request-id", "")


def request_id(request: Request) -> str:
    """Return the id of a request."""
    return str(request.state.request_id)


def timeout_s(request: Request) -> float | None:
    """Return the client's timeout from `X-Request-Timeout`; nan, which the engine refuses, if it is not positive."""
    text = request.headers.get("x-request-timeout")
    try:
        seconds = None if text is None else float(text)
    except ValueError:
        return math.nan
    return seconds if seconds is None or seconds > 0 else math.nan


def key(request: Request) -> str | None:
    """Return the API key of a request, from a bearer token or from X-API-Key."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key")
