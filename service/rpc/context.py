"""The context of a gRPC call: its caller, its errors as a status, and its log line."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn, TypeAlias
from urllib.parse import unquote

import grpc
from google.protobuf.message import DecodeError

from service.access.address import Network, client_address
from service.core.call import Caller, Outcome
from service.core.ids import choose_id
from service.core.request_log import log_request
from service.errors import ServiceError
from service.rpc.statuses import STATUS_OF_CODE, status
from service.tracing.context import CURRENT, TraceContext
from service.tracing.tracer import Tracer

Context = grpc.aio.ServicerContext[Any, Any]

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


@dataclass(frozen=True)
class CallInfo:
    """The properties of a call that its context does not provide."""

    method: str = ""
    trusted_proxies: tuple[Network, ...] = ()
    trace: TraceContext | None = None


CALL_INFO: ContextVar[CallInfo] = ContextVar("CALL_INFO", default=CallInfo())  # noqa: B039 - it is frozen


class CallInfoInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Set CALL_INFO for each call."""

    def __init__(self, trusted_proxies: tuple[Network, ...], tracer: Tracer) -> None:
        self.trusted_proxies, self.tracer = trusted_proxies, tracer

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Set the variable, and let the call go on."""
        sent = handler_call_details.invocation_metadata or ()
        trace = self.tracer.begin(next((str(value) for name, value in sent if name == "traceparent"), None))
        CURRENT.set(trace)
        CALL_INFO.set(CallInfo(handler_call_details.method, self.trusted_proxies, trace))
        handler = await continuation(handler_call_details)
        if handler is None or handler.request_deserializer is None:  # None: there is no such method
            return handler
        replaced: Handler = handler._replace(request_deserializer=partial(parse, handler.request_deserializer))  # type: ignore[attr-defined]
        return replaced


@dataclass(frozen=True)
class Malformed:
    """A request that is not a message of its type. It has what is read of a request before it is rejected."""

    size_bytes: int
    id: str = ""
    image: bytes = b""

    def ByteSize(self) -> int:  # noqa: N802 - as of a message
        """Return the size of the request."""
        return self.size_bytes


def parse(deserializer: Callable[[bytes], Any], data: bytes) -> Any:
    """Return a request, or Malformed, which its handler rejects. gRPC would log a traceback and not count the call."""
    try:
        return deserializer(data)
    except DecodeError:
        return Malformed(len(data))


@asynccontextmanager
async def error_status(context: Context) -> AsyncIterator[Caller]:
    """Yield the caller. A ServiceError raised inside becomes the call's status, with the code and the id beside it."""
    caller = caller_of(context)
    try:
        yield caller
    except ServiceError as error:
        await refuse(context, error, caller)
    context.set_trailing_metadata(tuple(identifying(caller)))


async def refuse(context: Context, error: ServiceError, caller: Caller) -> NoReturn:
    """End a call with an error's status."""
    trailing = [*identifying(caller), ("twins-code", error.code)]
    if error.retry_after_s is not None:
        trailing.append(("retry-after", str(error.retry_after_s)))
    await context.abort(status(error), error.detail, tuple(trailing))


def identifying(caller: Caller) -> Iterator[tuple[str, str]]:
    """Yield the trailing metadata that every call has: its id, and its span if it has one."""
    yield "x-request-id", caller.request_id
    if caller.trace is not None:
        yield "traceresponse", caller.trace.header


def caller_of(context: Context) -> Caller:
    """Return the client of a call: its id, key and address from the metadata, and the deadline of the call itself."""
    metadata = {str(name): str(value) for name, value in context.invocation_metadata() or ()}
    scheme, _, token = metadata.get("authorization", "").partition(" ")
    left_s, info = context.time_remaining(), CALL_INFO.get()
    return Caller(
        choose_id(metadata.get("x-request-id", "")),
        "grpc",
        asyncio.get_running_loop().time(),
        left_s if left_s is not None and math.isfinite(left_s) else None,
        token.strip() if scheme.lower() == "bearer" else metadata.get("x-api-key"),
        client_address(peer_host(context.peer()), metadata.get("x-forwarded-for", ""), info.trusted_proxies),
        info.method,
        report=log_call,
        trace=info.trace,
    )


def peer_host(peer: str) -> str:
    """Return the host and port of a peer, which gRPC writes as `ipv4:127.0.0.1:80` or `ipv6:%5B::1%5D:80`."""
    return unquote(peer).partition(":")[2]


def log_call(outcome: Outcome) -> None:
    """Log a call, or one request of a stream, with its status."""
    outcome.status = STATUS_OF_CODE.get(outcome.code, grpc.StatusCode.OK).name
    log_request(outcome)
