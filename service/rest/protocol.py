"""HTTP/1.1 on one connection: uvicorn's protocol, whose own refusals become problem documents."""

import asyncio
import logging
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
        detail = f"the HTTP request is malformed: {error or msg}"[:MAX_DETAIL]
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.send_problem(problems.describe_status(hint, self.refuse(hint, detail), detail))
        self.transport.close()

    def refuse(self, status: int, detail: str) -> str:
        """Count the refusal, and return the request's id.

        If the parser has read the headers already, the request is being handled: its body is marked as malformed, and
        the handler counts it.
        """
        if self.cycle and not self.cycle.response_complete:
            state = self.cycle.scope["state"]
            state[MALFORMED] = detail
            return str(state.setdefault("request_id", choose_id(given_id(self.headers))))
        request_id, now = choose_id(""), asyncio.get_running_loop().time()
        address = self.client[0] if self.client else ""
        caller = Caller(request_id, "http", now, address=address, report=partial(log_with_status, status))
        self.engine.refused(caller, problems.status_code_name(status))
        return request_id

    def send_problem(self, problem: problems.Problem) -> None:
        """Send a problem as the last response of the connection."""
        response = problems.encode(problem, {"X-Request-ID": problem.request_id, "Connection": "close"})
        reason = problem.title.encode()
        for event in (
            h11.Response(status_code=problem.status, headers=response.raw_headers, reason=reason),
            h11.Data(data=bytes(response.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")


def log_with_status(status: int, outcome: Outcome) -> None:
    """Log a request that the parser refuses."""
    outcome.status = str(status)
    log_request(outcome)
