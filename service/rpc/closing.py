"""End the calls that never end by themselves, health watches and reflection, when the service stops."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeVar

from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha._async import ReflectionServicer

from service.rpc.context import Context

Request = TypeVar("Request")


class ClosingHealth(HealthServicer):  # type: ignore[misc]
    """The standard health service. Its watches end when the service stops."""

    def __init__(self, closing: asyncio.Event) -> None:
        super().__init__()
        self.closing = closing

    async def Watch(self, request: Any, context: Context) -> None:  # noqa: N802
        """See the base class."""
        watching = asyncio.create_task(super().Watch(request, context))
        closing = asyncio.create_task(self.closing.wait())
        try:
            await asyncio.wait({watching, closing}, return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                watching.result()
        finally:
            watching.cancel()
            closing.cancel()


class ClosingReflection(ReflectionServicer):  # type: ignore[misc]
    """The standard reflection service. Its streams end when the service stops."""

    def __init__(self, names: tuple[str, ...], closing: asyncio.Event) -> None:
        super().__init__(names)
        self.closing = closing

    async def ServerReflectionInfo(self, requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:  # noqa: N802
        """See the base class."""
        async for response in super().ServerReflectionInfo(until(self.closing, requests), context):
            yield response


async def until(closing: asyncio.Event, requests: AsyncIterator[Request]) -> AsyncIterator[Request]:
    """Yield the requests of a stream until the service stops."""
    stopping = asyncio.create_task(closing.wait())
    try:
        while True:
            reading = asyncio.create_task(read(requests))
            await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                reading.cancel()
                return
            if (request := reading.result()) is None:
                return
            yield request
    finally:
        stopping.cancel()


async def read(requests: AsyncIterator[Request]) -> Request | None:
    """Return the next request, or None at the end of the stream."""
    return await anext(aiter(requests), None)
