"""gRPC calls that Ray Serve's proxy passes on to a replica, answered by the same services as those of a gRPC server.

A replica gets the message of a call as bytes, and a copy of its context. `ReplicaContext` has the methods of a context
that the services use, so that they see no difference.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from service.rpc.services import Services

TIMEOUT = "twins-timeout"  # the metadata in which the proxy passes on the seconds that a call has left
WIDTH = 16  # answers of a stream that wait for the proxy

NOTHING = Empty()
"""What a call without an answer returns, so that its status and its trailing metadata reach the proxy.

It has no bytes. No message of the services is empty, so the proxy can tell it from an answer.
"""


Handler = Any
"""A method as gRPC knows it; its types are those of servers without asyncio."""


class Ended(Exception):
    """A method has ended its call with a status."""


class ReplicaContext:
    """The context of one call in a replica.

    `given` is Ray Serve's copy of the context, which returns to the proxy with each answer.
    """

    def __init__(self, given: Any, handler: Handler, messages: AsyncIterator[bytes]) -> None:
        self.given, self.handler, self.messages = given, handler, messages
        self.metadata = [(name, value) for name, value in given.invocation_metadata() if name != TIMEOUT]
        self.ends = ends_at(given.invocation_metadata())
        self.answers: asyncio.Queue[Message | None] = asyncio.Queue(WIDTH)
        self.on_done: list[Callable[[Any], None]] = []

    def invocation_metadata(self) -> Sequence[tuple[str, str | bytes]]:
        """Return what the client sent beside the message."""
        return self.metadata

    def peer(self) -> str:
        """Return the address of the client, as the proxy saw it."""
        return str(self.given.peer())

    def time_remaining(self) -> float | None:
        """Return the seconds until the deadline of the call; None without one."""
        return None if self.ends is None else self.ends - time.monotonic()

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Call a function when the call has ended."""
        self.on_done.append(callback)

    def set_trailing_metadata(self, trailing: Sequence[tuple[str, str | bytes]]) -> None:
        """Set what the client gets after the answer."""
        self.given.set_trailing_metadata(list(trailing))

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Sequence[tuple[str, str | bytes]] = ()
    ) -> NoReturn:
        """End the call with a status."""
        self.given.set_code(code)
        self.given.set_details(details)
        self.set_trailing_metadata(trailing_metadata)
        raise Ended

    async def read(self) -> Any:
        """Return the next message of the client, or EOF."""
        data = await anext(self.messages, None)
        return grpc.aio.EOF if data is None else self.parsed(data)  # type: ignore[attr-defined]

    async def write(self, message: Message) -> None:
        """Send the client a message, once there is room for it."""
        await self.answers.put(message)

    def parsed(self, data: bytes) -> Any:
        """Return a message of the client."""
        return self.handler.request_deserializer(data)

    async def requests(self) -> AsyncIterator[Any]:
        """Yield the messages of the client."""
        async for data in self.messages:
            yield self.parsed(data)

    def end(self) -> None:
        """Notify those who wait for the end of the call."""
        for callback in self.on_done:
            callback(self)


@dataclass(frozen=True)
class CallDetails:
    """What the interceptors are told of a call."""

    method: str
    invocation_metadata: Sequence[tuple[str, str | bytes]] = ()


class Calls:
    """Answers the calls of all services. It takes the place of a server to which they are added."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.handlers: list[grpc.GenericRpcHandler] = []  # type: ignore[type-arg]
        services.add_to(self)  # type: ignore[arg-type]

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        """Add the methods of a service, as the generated code does it."""
        self.handlers += handlers

    def add_registered_method_handlers(self, service: str, handlers: object) -> None:
        """Do nothing: these are the same methods again."""

    async def find(self, details: Any) -> Handler:
        """Return the method of a call."""
        found = (handler.service(details) for handler in self.handlers)
        return next(handler for handler in found if handler is not None)

    async def guarded(self, method: str, given: Any) -> Handler:
        """Return the method of a call behind the interceptors, which note what they need of the call."""
        step: Any = self.find
        for interceptor in reversed(self.services.interceptors):
            step = Intercepted(interceptor, step)
        return await step(CallDetails(method, given.invocation_metadata()))

    async def answer(self, method: str, message: bytes, given: Any) -> Message:
        """Return the answer to a call with one message and one answer; without one, `given` has the status."""
        handler = await self.guarded(method, given)
        context = ReplicaContext(given, handler, one(message))
        try:
            answer: Message = await handler.stream_unary(context.requests(), context)
        except Ended:
            return NOTHING
        finally:
            context.end()
        return answer

    async def stream(self, method: str, messages: AsyncIterator[bytes] | bytes, given: Any) -> AsyncIterator[Message]:
        """Yield the answers to a call with many, and then what carries its status to the proxy."""
        handler = await self.guarded(method, given)
        context = ReplicaContext(given, handler, one(messages) if isinstance(messages, bytes) else messages)
        running = asyncio.create_task(run(handler, context))
        try:
            while (message := await context.answers.get()) is not None:
                yield message
            with suppress(Ended):
                await running
            yield NOTHING
        finally:
            running.cancel()
            await asyncio.wait([running])
            context.end()


class Intercepted:
    """A step of a call: an interceptor and what comes after it."""

    def __init__(self, interceptor: Any, after: Any) -> None:
        self.interceptor, self.after = interceptor, after

    async def __call__(self, details: CallDetails) -> Handler:
        """Return the method of a call."""
        return await self.interceptor.intercept_service(self.after, details)


async def run(handler: Handler, context: ReplicaContext) -> None:
    """Run a method that writes its answers, and mark their end, unless nobody reads them any more."""
    try:
        await handler.stream_stream(context.requests(), context)
    except Exception:
        await context.answers.put(None)
        raise
    await context.answers.put(None)


async def one(message: bytes) -> AsyncIterator[bytes]:
    """Yield the message of a call that has one."""
    yield message


def ends_at(metadata: Sequence[tuple[str, str | bytes]]) -> float | None:
    """Return when a call must have ended, from what the proxy has added to its metadata; None without a deadline."""
    seconds = next((float(value) for name, value in metadata if name == TIMEOUT), None)
    return None if seconds is None else time.monotonic() + seconds
