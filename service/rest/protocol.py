"""HTTP/1.1 on one connection: uvicorn's protocol, whose own refusals become problem documents."""

import asyncio
import logging
from functools import partial
from http import HTTPStatus
from typing import Any

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpRequestParser
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.core.call import Caller, Outcome
from service.core.engine import Engine
from service.core.ids import choose_id
from service.core.request_log import log_request
from service.rest import problems
from service.rest.peer import PEER, Peer
from service.rest.protection import protect
from service.rest.scope import MALFORMED, given_id

MAX_HEAD_BYTES = 2**16  # that arrive before a body or between two of its chunks
MAX_PIPELINED = 100  # requests that wait for the answer to an earlier one
MAX_DETAIL = 200  # characters
UPGRADE_HEADERS = (b"upgrade", b"http2-settings")

log = logging.getLogger(__name__)
log.setLevel(logging.ERROR)  # a client's faults are counted, not warned of


class Refusal(Exception):
    """A request that is refused before it has a handler."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail[:MAX_DETAIL]


class Protocol(HttpToolsProtocol):
    """The protocol of one connection. It answers what the parser refuses, counts it, and bounds what it collects."""

    def __init__(self, engine: Engine, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self.engine = engine
        self.logger = log
        self.peer = Peer()
        self.head_bytes = 0  # since the last byte of a body: headers, trailers, and what delimits chunks
        self.in_head = False
        self.refused = False

    # ------------------------------------------------------------------ the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start a connection."""
        super().connection_made(transport)
        self.peer = Peer(self.flow.resume_reading)

    def data_received(self, data: bytes) -> None:
        """Read what the client sends."""
        if not self.discards_body:
            self._unset_keepalive_if_required()
        if self.refused:
            return
        self.head_bytes += len(data)
        try:
            self.parse(data)
            if self.head_bytes > MAX_HEAD_BYTES:
                raise Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the headers of the request are too large")
        except Refusal as refusal:
            self.refuse(refusal)

    @property
    def discards_body(self) -> bool:
        """Return whether what arrives is the rest of a body whose request has its answer.

        It must end before the time for an idle connection has passed.
        """
        return bool(self.cycle and self.cycle.response_complete and self.cycle.more_body)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the work for the client."""
        super().connection_lost(exc)
        self.peer.leave()

    # ------------------------------------------------------------------ parsing

    def parse(self, data: bytes) -> None:
        """Pass data to the parser, which calls the methods below. Raises Refusal."""
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self.ignore_upgrade(data[upgrade.args[0] :])
        except HttpParserCallbackError as error:
            if isinstance(error.__context__, Refusal):
                raise error.__context__ from None
            raise malformed("its target is not a path") from error
        except HttpParserError as error:
            raise malformed(str(error)) from error

    def ignore_upgrade(self, rest: bytes) -> None:
        """Parse a request again without its offer to change the protocol, behind which the parser reads no body."""
        kept = [without_offer(header) for header in self.headers if header[0] not in UPGRADE_HEADERS]
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/1.1", *(b": ".join(pair) for pair in kept)]
        self.parser = HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.parse(b"\r\n".join([*lines, b"", b""]) + rest)

    def on_message_begin(self) -> None:
        """Start a request."""
        super().on_message_begin()
        self._unset_keepalive_if_required()
        self.in_head = True
        self.scope["state"][PEER] = self.peer

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header. Fields behind the body are dropped, since nothing says that they may replace headers."""
        if self.in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start a request whose headers are complete, or queue it."""
        self.in_head = False
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            return
        self.check_headers()
        if len(self.pipeline) >= MAX_PIPELINED:
            raise Refusal(HTTPStatus.TOO_MANY_REQUESTS, f"more than {MAX_PIPELINED} requests wait on the connection")
        super().on_headers_complete()

    def check_headers(self) -> None:
        """Raise Refusal for headers that the parser accepts and HTTP does not."""
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1 or (hosts == 0 and self.parser.get_http_version() == "1.1"):
            raise malformed("it must have one Host header")
        codings = [value.lower() for name, value in self.headers if name == b"transfer-encoding"]
        if codings and codings != [b"chunked"]:
            detail = "the Transfer-Encoding is not supported; send the body with a Content-Length, or chunked"
            raise Refusal(HTTPStatus.NOT_IMPLEMENTED, detail)

    def on_body(self, body: bytes) -> None:
        """Pass on a piece of a body."""
        self.head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        self.head_bytes = 0
        if not self.parser.should_upgrade():
            super().on_message_complete()
            self.cycle.more_body = False

    # ------------------------------------------------------------------ refusals

    def refuse(self, refusal: Refusal) -> None:
        """Answer what is refused, and close the connection after the answers that it waits for."""
        self.refused = True
        newest = self.cycle
        if newest is None or (newest.response_complete and not newest.more_body):
            problem = problem_of(refusal, choose_id(given_id(self.headers or [])))
            self.count(problem, self.send_problem(problem))
            self.transport.close()
        elif newest.response_complete:  # the body of a request that has its answer
            self.transport.close()
        elif not newest.more_body:  # what is refused follows a whole request
            newest.keep_alive = False
            self.count(problem_of(refusal, choose_id("")), 0)
        elif self.pipeline:  # its request waits for the answers to earlier ones, and has no handler yet
            self.refuse_queued(refusal)
        else:
            self.refuse_running(refusal)

    def refuse_queued(self, refusal: Refusal) -> None:
        """Answer the newest request, which waits for its turn, with a refusal."""
        problem = problem_of(refusal, choose_id(given_id(self.headers)))
        response = encode(problem)
        self.pipeline[0] = (self.cycle, response)  # type: ignore[assignment]  # Starlette's types of ASGI differ
        self.count(problem, len(response.body))

    def refuse_running(self, refusal: Refusal) -> None:
        """Answer the request whose body is refused, unless its answer has started. Its handler counts and logs it."""
        running = self.cycle
        if not running.response_started:
            state = running.scope["state"]
            state[MALFORMED] = refusal.detail
            request_id = state.setdefault("request_id", choose_id(given_id(self.headers)))
            self.send_problem(problem_of(refusal, request_id))
            running.disconnected = True
        self.transport.close()

    def count(self, problem: problems.Problem, bytes_out: int) -> None:
        """Count and log a request that has no handler."""
        now, address = asyncio.get_running_loop().time(), self.client[0] if self.client else ""
        report = partial(log_with_sizes, problem.status, bytes_out)
        self.engine.refused(Caller(problem.request_id, "http", now, address=address, report=report), problem.code)

    def send_problem(self, problem: problems.Problem) -> int:
        """Send a problem as the last response of the connection. Return the size of the body."""
        response = encode(problem)
        lines = [b": ".join(header) for header in response.raw_headers]
        body = bytes(response.body)
        self.transport.write(STATUS_LINE[problem.status] + b"\r\n".join([*lines, b"", body]))
        return len(body)


def without_offer(header: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """Return a header; of `Connection` only what does not offer to change the protocol."""
    name, value = header
    if name != b"connection":
        return header
    tokens = (token.strip() for token in value.split(b","))
    return name, b", ".join(token for token in tokens if token.lower() not in UPGRADE_HEADERS)


def encode(problem: problems.Problem) -> Response:
    """Return the last response of a connection."""
    return protect(problems.encode(problem, {"X-Request-ID": problem.request_id, "Connection": "close"}))


def malformed(why: str) -> Refusal:
    """Return the refusal of what is not HTTP."""
    return Refusal(HTTPStatus.BAD_REQUEST, f"the HTTP request is malformed: {why[:1].lower()}{why[1:]}")


def problem_of(refusal: Refusal, request_id: str) -> problems.Problem:
    """Return a refusal as a problem."""
    return problems.describe_status(refusal.status, request_id, refusal.detail)


def log_with_sizes(status: int, bytes_out: int, outcome: Outcome) -> None:
    """Log a request that the parser refuses."""
    outcome.status, outcome.bytes_out = str(status), bytes_out
    log_request(outcome)
