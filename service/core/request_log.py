"""The log line of a request, the same for every protocol."""

import asyncio

from service import logs
from service.core.call import Outcome

log = logs.get()


def log_request(outcome: Outcome) -> None:
    """Log a request with its caller, result and sizes; never with an image or an API key."""
    caller = outcome.caller
    log.info(
        "request",
        request_id=caller.request_id,
        protocol=caller.protocol,
        client=caller.address,
        key=outcome.key_name,
        path=caller.path,
        model=outcome.model,
        images=outcome.images,
        code=outcome.code,
        status=outcome.status,
        bytes_in=outcome.bytes_in,
        bytes_out=outcome.bytes_out,
        ms=round((asyncio.get_running_loop().time() - caller.arrived) * 1000, 1),
    )
