"""The caller of an HTTP request, as the engine knows it."""

import asyncio
from functools import partial

from starlette.requests import Request

from service.core.call import Caller
from service.core.engine import Engine
from service.rest import scope


def caller_of(request: Request, engine: Engine) -> Caller:
    """Return the client of a request."""
    return Caller(
        scope.request_id(request),
        "http",
        asyncio.get_running_loop().time(),
        scope.timeout_s(request),
        scope.key(request),
        scope.address(request, engine.trusted_networks),
        scope.path(request),
        report=partial(scope.keep_outcome, request),  # the middleware logs it with the response's status and size
        trace=scope.trace(request),
    )
