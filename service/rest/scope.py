"""What every HTTP request gets: an id, and a hint to leave while the service stops."""

import math

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.core.engine import Engine
from service.core.ids import choose_id


class RequestScope:
    """Gives each request an id, the client's if it is harmless, and returns it with the answer.

    While the service stops, every answer closes its connection, so that no client is cut off between two requests.
    """

    def __init__(self, app: ASGIApp, engine: Engine) -> None:
        self.app, self.engine = app, engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = choose_id(given)
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                if self.engine.stopping:
                    headers["Connection"] = "close"
            await send(message)

        await self.app(scope, receive, send_with_headers)


def request_id(request: Request) -> str:
    """The id of this request."""
    return str(request.state.request_id)


def timeout_s(request: Request) -> float | None:
    """The client's deadline from `X-Request-Timeout`, in seconds; nan, which the engine refuses, for nonsense."""
    text = request.headers.get("x-request-timeout")
    try:
        seconds = None if text is None else float(text)
    except ValueError:
        return math.nan
    return seconds if seconds is None or seconds > 0 else math.nan


def key(request: Request) -> str | None:
    """The key the client shows, as a bearer token or as X-API-Key."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key")
