"""What runs in Ray Serve's proxies: clients get our errors there too, and their deadlines and limits apply.

Ray Serve calls `middlewares` for HTTP and `add_services` for gRPC when a proxy starts.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.core.ids import choose_id
from service.errors import Overloaded, ServiceError, Unavailable
from service.ray.calls import TIMEOUT
from service.ray.methods import METHODS, SERVICES, Method
from service.rest import problems, protection
from service.rest.scope import given_id
from service.rpc.statuses import status
from service.setting_sources import load

RETRY_AFTER_S = 1
LOST = "the replica that had the request has ended; send it again"
FULL = "every replica has as many requests as it takes; send it again later"
CHECKED = ("/-/healthz", "/-/routes")
"""The paths of Ray Serve itself, whose answers stay as they are."""


def middlewares() -> list[Middleware]:
    """Return what is put around the HTTP proxy."""
    return [Middleware(Answers, max_body_bytes=load({}).max_body_bytes)]


class Answers:
    """Answers with a problem document where the proxy itself refuses a request, or has lost its replica."""

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self.app, self.max_body_bytes = app, max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an ASGI request."""
        if scope["type"] != "http" or scope["path"] in CHECKED:
            await self.app(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send, self.max_body_bytes)
        await self.app(scope, exchange.receive, exchange.send)
        await exchange.finish()


class Exchange:
    """One request and its response on their way through the proxy."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, max_body_bytes: int) -> None:
        self.scope, self.receive_next, self.send_next = scope, receive, send
        self.left_bytes = max_body_bytes
        self.started = False
        self.refusal: ServiceError | None = None  # in place of the proxy's own

    async def receive(self) -> Message:
        """Return the next message from the client, up to the limit of a body.

        The proxy reads as fast as the client sends. The replica refuses a body that is too long, which ends the wait.
        """
        if self.left_bytes < 0:
            await asyncio.Event().wait()
        message = await self.receive_next()
        self.left_bytes -= len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        """Send a message of the response, unless it is the proxy's own refusal."""
        if message["type"] == "http.response.start":
            message["headers"] = list(without_second_id(message["headers"]))
            self.refusal = refusal_of(message)
            self.started = self.refusal is None
        if self.refusal is None:
            await self.send_next(message)

    async def finish(self) -> None:
        """Send a problem if nothing was sent: the proxy refused the request, or the replica ended before it started."""
        if self.started:
            return
        error = self.refusal or Unavailable(LOST, retry_after_s=RETRY_AFTER_S)
        request_id = choose_id(given_id(self.scope["headers"]))
        response = protection.protect(problems.respond(error, request_id))
        response.headers["X-Request-ID"] = request_id
        await response(self.scope, self.receive_next, self.send_next)


def without_second_id(headers: Any) -> Any:
    """Yield the headers of a response without the id that the proxy adds to the replica's own."""
    known = False
    for name, value in headers:
        is_id = name.lower() == b"x-request-id"
        if not (is_id and known):
            yield name, value
        known = known or is_id


def refusal_of(start: Message) -> ServiceError | None:
    """Return the error in place of the proxy's own refusal; None for an answer of a replica.

    Answers of the replicas that refuse are problem documents. The proxy's are plain text.
    """
    types = [value for name, value in start["headers"] if name.lower() == b"content-type"]
    if start["status"] not in PROXY_REFUSALS or not any(each.startswith(b"text/plain") for each in types):
        return None
    return PROXY_REFUSALS[start["status"]]


PROXY_REFUSALS: Mapping[int, ServiceError] = {
    404: Unavailable("the application is not deployed, or is still starting", retry_after_s=RETRY_AFTER_S),
    429: Overloaded(FULL, retry_after_s=RETRY_AFTER_S),
    503: Unavailable(FULL, retry_after_s=RETRY_AFTER_S),
}
"""What clients get in place of the refusals of Ray Serve's HTTP proxy, by their status."""


# ---------------------------------------------------------------------- gRPC


def add_services(_: object, server: Any) -> None:
    """Add the methods of all services to a proxy, as `grpc_servicer_functions` of Ray Serve do it."""
    for service in SERVICES:
        prefix = f"/{service.full_name}/"
        handler = Forwarding([method for method in METHODS if method.path.startswith(prefix)])
        server.add_generic_rpc_handlers((handler,))


class Forwarding(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """The methods of one service in a proxy.

    Messages pass through as bytes, so that the replica parses them, and refuses those that are malformed, as always.
    Ray Serve replaces the functions in `_method_handlers` by those that call a replica. `service` puts ours around
    them.
    """

    def __init__(self, methods: list[Method]) -> None:
        self.methods = {method.path: method for method in methods}
        self._method_handlers = {method.path: grpc.unary_unary_rpc_method_handler(unreplaced) for method in methods}

    def service(self, details: Any) -> Any:
        """Return the method of a call, or None if there is no such method."""
        method = self.methods.get(details.method)
        return None if method is None else forwarding(method, self._method_handlers[details.method])


async def unreplaced(_: object, context: Any) -> None:
    """Answer a method that Ray Serve has not replaced by one that calls a replica."""
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "this version of Ray Serve is not supported")


def forwarding(method: Method, replaced: Any) -> Any:
    """Return a handler around the functions by which Ray Serve calls a replica."""
    if not method.returns_stream:
        return grpc.unary_unary_rpc_method_handler(unary(replaced.unary_unary))
    if method.takes_stream:
        return grpc.stream_stream_rpc_method_handler(stream(replaced.stream_stream))
    return grpc.unary_stream_rpc_method_handler(stream(replaced.unary_stream))


def unary(call: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return a method with one answer."""

    async def forward(message: bytes, context: Any) -> bytes:
        answer: bytes = await call(message, PassedContext(context))
        mend(context)
        return answer

    return forward


def stream(call: Callable[[Any, Any], AsyncIterator[bytes]]) -> Callable[[Any, Any], AsyncIterator[bytes]]:
    """Return a method with many answers. An empty one brought nothing but the status."""

    async def forward(messages: Any, context: Any) -> AsyncIterator[bytes]:
        async for answer in call(messages, PassedContext(context)):
            if answer:
                yield answer
        mend(context)

    return forward


def mend(context: Any) -> None:
    """Replace the status of a call that its replica has not answered, which Ray Serve takes for a failure of ours."""
    answered = any(name == "twins-code" for name, _ in context.trailing_metadata() or ())
    if answered or (error := GRPC_REFUSALS.get(context.code())) is None:
        return
    metadata = {name: value for name, value in context.invocation_metadata() if isinstance(value, str)}
    context.set_code(status(error))
    context.set_details(error.detail)
    context.set_trailing_metadata(
        (
            ("x-request-id", choose_id(metadata.get("x-request-id", ""))),
            ("twins-code", error.code),
            ("retry-after", str(RETRY_AFTER_S)),
        )
    )


GRPC_REFUSALS: Mapping[grpc.StatusCode, ServiceError] = {
    grpc.StatusCode.INTERNAL: Unavailable(LOST),
    grpc.StatusCode.UNAVAILABLE: Unavailable(FULL),
    grpc.StatusCode.NOT_FOUND: Unavailable("the application is not deployed, or is still starting"),
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded(FULL),
}
"""What clients get in place of the refusals of Ray Serve's gRPC proxy, by their status."""


@dataclass(frozen=True)
class PassedContext:
    """The context of a call, with the time that is left in the metadata: Ray Serve passes those on, but no deadline."""

    context: Any

    def __getattr__(self, name: str) -> Any:
        """Return what the context of the library has."""
        return getattr(self.context, name)

    def invocation_metadata(self) -> list[tuple[str, str | bytes]]:
        """Return what the client sent beside the message, and the seconds that are left."""
        given = [(name, value) for name, value in self.context.invocation_metadata() or () if name != TIMEOUT]
        left_s = self.context.time_remaining()
        return given if left_s is None else [*given, (TIMEOUT, f"{left_s:.6f}")]
