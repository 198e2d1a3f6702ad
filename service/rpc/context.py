"""What every gRPC call gets: a caller, and its errors as a status."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import grpc

from service.core.call import Caller
from service.core.ids import choose_id
from service.errors import ServiceError
from service.rpc.statuses import status

Context = grpc.aio.ServicerContext[Any, Any]


@asynccontextmanager
async def error_status(context: Context) -> AsyncIterator[Caller]:
    """Who calls; ServiceErrors raised inside become the call's status, with the code and the id beside it."""
    caller = caller_of(context)
    try:
        yield caller
    except ServiceError as error:
        await refuse(context, error, caller)
    context.set_trailing_metadata((("x-request-id", caller.request_id),))


async def refuse(context: Context, error: ServiceError, caller: Caller) -> NoReturn:
    """Ends a call with an error's status."""
    trailing = [("x-request-id", caller.request_id), ("twins-code", error.code)]
    if error.retry_after_s is not None:
        trailing.append(("retry-after", str(error.retry_after_s)))
    await context.abort(status(error), error.detail, tuple(trailing))


def caller_of(context: Context) -> Caller:
    """Who calls: id and key from the metadata, the deadline from the call itself."""
    metadata = {str(name): str(value) for name, value in context.invocation_metadata() or ()}
    scheme, _, token = metadata.get("authorization", "").partition(" ")
    left_s = context.time_remaining()
    return Caller(
        choose_id(metadata.get("x-request-id", "")),
        "grpc",
        asyncio.get_running_loop().time(),
        left_s if left_s is not None and math.isfinite(left_s) else None,
        token.strip() if scheme.lower() == "bearer" else metadata.get("x-api-key"),
    )
