"""HTTP/1.1 on one connection: uvicorn's protocol, whose own refusals become problem documents."""

import asyncio
import logging
import re
import sys
from functools import partial
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.core.call import Caller, Outcome
from service.core.engine import Engine
from service.core.ids import choose_id
from service.core.request_log import log_request
from service.rest import problems
from service.rest.scope import MALFORMED, given_id

MAX_DETAIL = 200  # characters

DETAILS = {
    431: "the headers of the request are too large",
    501: "the Transfer-Encoding is not supported; send the body with a Content-Length, or chunked",
}
"""What the parser's own message does not say plainly, by the status of the refusal."""

BYTES = re.compile(r": (bytearray\(|b['\"]).*", re.DOTALL)
"""The client's own bytes at the end of the parser's message, as Python writes them."""

log = logging.getLogger(__name__)
log.setLevel(logging.ERROR)  # a client's faults are counted, not warned of


class Protocol(H11Protocol):
    """The protocol of one connection. It answers what the parser refuses, and counts it."""

    def __init__(self, engine: Engine, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self.engine = engine
        self.logger = log

    def send_400_response(self, msg: str) -> None:
        """Answer a request that the parser refuses, and close the connection.

        uvicorn calls this while it handles the parser's error.
        """
        error = sys.exception()
        hint = error.error_status_hint if isinstance(error, h11.ProtocolError) else 400
        detail = DETAILS.get(hint) or f"the HTTP request is malformed: {BYTES.sub('', str(error or msg))}"
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            handled_id = self.mark_malformed(detail)
            problem = problems.describe_status(hint, handled_id or choose_id(""), detail[:MAX_DETAIL])
            bytes_out = self.send_problem(problem)
            if handled_id is None:
                self.count(problem, bytes_out)
        self.transport.close()

    def mark_malformed(self, detail: str) -> str | None:
        """Return the id of the request that is being handled, or None if its headers could not be read.

        The body of such a request is marked as malformed, and the handler counts and logs it.
        """
        if not self.cycle or self.cycle.response_complete:
            return None
        state = self.cycle.scope["state"]
        state[MALFORMED] = detail
        return str(state.setdefault("request_id", choose_id(given_id(self.headers))))

    def count(self, problem: problems.Problem, bytes_out: int) -> None:
        """Count and log a request that has no handler."""
        now, address = asyncio.get_running_loop().time(), self.client[0] if self.client else ""
        report = partial(log_with_sizes, problem.status, bytes_out)
        self.engine.refused(Caller(problem.request_id, "http", now, address=address, report=report), problem.code)

    def send_problem(self, problem: problems.Problem) -> int:
        """Send a problem as the last response of the connection. Return the size of the body."""
        response = problems.encode(problem, {"X-Request-ID": problem.request_id, "Connection": "close"})
        reason = problem.title.encode()
        for event in (
            h11.Response(status_code=problem.status, headers=response.raw_headers, reason=reason),
            h11.Data(data=bytes(response.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        return len(response.body)


def log_with_sizes(status: int, bytes_out: int, outcome: Outcome) -> None:
    """Log a request that the parser refuses."""
    outcome.status, outcome.bytes_out = str(status), bytes_out
    log_request(outcome)
