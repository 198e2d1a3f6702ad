"""Let a call begin only within the limits, before its message is received, and hold its answer while the server stops.

The library receives the whole message of a unary method before it runs the method. Therefore every method is registered
as one with a stream of requests, and the message of a unary method is read here.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc

from service.core.engine import Engine
from service.core.orders import Requested
from service.errors import BadRequest, Overloaded, RequestTimeout
from service.rpc.answering import Answering
from service.rpc.context import Context, Handler, caller_of, error_status, peer_host, refuse
from service.rpc.limits import CallLimits, OpenCall
from service.rpc.methods import ORDERS, SCOPES, kind_of

Answers: TypeAlias = Callable[[Any, Context], AsyncGenerator[Any, None]]


class Guard(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Guard the methods of all services."""

    def __init__(self, engine: Engine, answering: Answering, limits: CallLimits) -> None:
        self.engine, self.answering, self.limits = engine, answering, limits
        self.handlers: dict[str, Handler] = {}  # the guarded methods

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Return the guarded method, or None if there is no such method."""
        method = handler_call_details.method
        if method not in self.handlers:
            handler = await continuation(handler_call_details)
            if handler is None:
                return handler
            self.handlers[method] = self.guarded(handler, method)
        return self.handlers[method]

    def guarded(self, handler: Any, method: str) -> Handler:
        """Return a handler that guards another one."""
        serializers = (handler.request_deserializer, handler.response_serializer)
        if handler.unary_unary:
            return grpc.stream_unary_rpc_method_handler(self.unary(handler.unary_unary, method), *serializers)
        if handler.unary_stream:
            return grpc.stream_stream_rpc_method_handler(self.watch(handler.unary_stream, method), *serializers)
        return grpc.stream_stream_rpc_method_handler(self.stream(handler.stream_stream, method), *serializers)

    def unary(self, answer: Callable[[Any, Context], Awaitable[Any]], method: str) -> Callable[..., Awaitable[Any]]:
        """Return a method that reads one message and returns its answer."""

        async def guarded(_: object, context: Context) -> Any:
            call = await self.begin(context, method)
            receive = self.receive_order if method in ORDERS else self.receive
            request = await receive(context, call, method)
            response = await answer(request, context)
            call.account.count(response.ByteSize())  # until the client has fetched it
            await self.answering.allowed()
            return response

        return guarded

    def watch(self, watch: Callable[[Any, Context], Awaitable[None]], method: str) -> Callable[..., Awaitable[None]]:
        """Return a method that reads one message and writes any number of answers itself."""

        async def guarded(_: object, context: Context) -> None:
            call = await self.begin(context, method)
            await watch(await self.receive(context, call, method), context)

        return guarded

    def stream(self, answers: Answers, method: str) -> Callable[..., Awaitable[None]]:
        """Return a method that writes the answers of another, and ends it at once if the client leaves."""

        async def guarded(requests: AsyncIterator[Any], context: Context) -> None:
            await self.begin(context, method)
            async with aclosing(answers(requests, context)) as responses:
                async for response in responses:
                    await context.write(response)

        return guarded

    async def begin(self, context: Context, method: str) -> OpenCall:
        """Return a new call, which ends by itself. Refuse it beyond the limits of its kind."""
        self.answering.note_call()
        try:
            call = self.limits.admit(peer_host(context.peer()), kind_of(method))
        except Overloaded as error:  # a line in the log for each call would be a flood as well
            await refuse(context, error, caller_of(context))
        context.add_done_callback(lambda _: call.end())  # type: ignore[arg-type]
        return call

    async def receive(self, context: Context, call: OpenCall, method: str) -> Any:
        """Return the message of a unary call. Refuse one that may not go on before its message is received."""
        async with error_status(context) as caller:
            with self.engine.admit(caller, SCOPES.get(method)) as outcome:
                call.reserve_window()
                if SCOPES.get(method) == "infer":
                    await self.engine.check_room(outcome)
                request = await message(context, call)
            check_arrived(request)
        return request

    async def receive_order(self, context: Context, call: OpenCall, method: str) -> Any:
        """Return the message of a call that changes what is served. Refuse it otherwise, and log the order.

        The log names the model also if the caller's key lacks the scope, so the scope is checked behind the message.
        That costs no more than other calls with that key, and without a known key nothing is received.
        """
        async with error_status(context) as caller:
            with self.engine.admit(caller, None, Requested(ORDERS[method], "")) as outcome:
                self.engine.identify(caller, outcome)
                call.reserve_window()
                request = await message(context, call)
                name = getattr(request, "model_name", "")  # which EOF and Malformed lack
                outcome.order = Requested(ORDERS[method], name)
                self.engine.check_key(caller, SCOPES[method], outcome)
            check_arrived(request)
        return request


def check_arrived(request: Any) -> None:
    """Raise BadRequest if no message has come. That is not counted.

    The library says the same of a message that is too long and of a client that has left.
    """
    if request is grpc.aio.EOF:  # type: ignore[attr-defined]
        raise BadRequest("the call has no message")


async def message(context: Context, call: OpenCall) -> Any:
    """Return the message of a unary call, or EOF. Raise RequestTimeout."""
    try:
        async with asyncio.timeout(call.limit.receive_s):
            request = await context.read()
    except TimeoutError:
        raise RequestTimeout("the message of the call did not arrive in time") from None
    call.release_window()
    return request
