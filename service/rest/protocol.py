"""HTTP/1.1 on one connection: uvicorn's protocol, whose own refusals become problem documents."""

import asyncio
import logging
from functools import partial
from http import HTTPStatus
from typing import Any

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service import metrics
from service.core.call import Caller
from service.core.engine import Engine
from service.core.ids import choose_id
from service.rest import problems
from service.rest.connections import ANSWERS, Connections, Reason
from service.rest.ending import Ending
from service.rest.head import Head, check_headers
from service.rest.peer import INTERIM, PEER, Peer, is_reset
from service.rest.refusals import Refusal, encode, log_with_sizes, malformed, problem_of
from service.rest.scope import BUFFER_BYTES, MALFORMED, given_id
from service.rest.timeouts import Timer
from service.rest.upgrade import without_offer

MAX_PIPELINED = 100  # requests that wait for the answer to an earlier one
RESET_S = 0.05  # between two looks at whether a client has gone that has finished sending

log = logging.getLogger(__name__)
log.setLevel(logging.ERROR)  # a client's faults are counted, not warned of


class Protocol(HttpToolsProtocol):
    """The protocol of one connection. It answers what the parser refuses, counts it, and bounds what it collects.

    It ends a connection that waits too long for a request, or for its client to fetch an answer.
    """

    def __init__(self, engine: Engine, connections: Connections, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self.engine, self.account = engine, connections
        self.head_timer = Timer(engine.settings.header_timeout_s, self.on_late_head)
        self.reset_timer = Timer(RESET_S, self.on_finished_sending)
        self.beneath: asyncio.Transport | None = None  # the transport under TLS
        self.ending: Ending
        self.logger = log
        self.peer = Peer()
        self.head = Head()
        self.refused = False

    # ------------------------------------------------------------------ the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start a connection."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(BUFFER_BYTES)  # with TLS it would be eight times as much
        self.peer = Peer(self.flow.resume_reading, transport.is_closing)
        self.ending = Ending(transport, self.beneath, self.engine.settings.send_timeout_s, self.on_slow_reader)
        self.head_timer.start()
        if reason := self.account.open(self, self.client[0] if self.client else ""):
            self.end(reason)

    def data_received(self, data: bytes) -> None:
        """Read what the client sends."""
        if not self.discards_body:
            self._unset_keepalive_if_required()
        if self.refused:
            return
        self.head.add_bytes(len(data))
        try:
            self.parse(data)
            self.head.check_bytes()
        except Refusal as refusal:
            self.refuse(refusal)
        if not self.refused and (self.head.open or not (self.has_request or self.timeout_keep_alive_task)):
            self.head_timer.start()
        else:
            self.head_timer.cancel()

    @property
    def has_request(self) -> bool:
        """Return whether a request has no answer yet."""
        return bool(self.cycle and not self.cycle.response_complete)

    @property
    def discards_body(self) -> bool:
        """Return whether what arrives is the rest of a body whose request has its answer.

        It must end before the time for an idle connection has passed.
        """
        return bool(self.cycle and self.cycle.response_complete and self.cycle.more_body)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the work for the client."""
        super().connection_lost(exc)
        self.head_timer.close()
        self.reset_timer.close()
        self.ending.forget()
        self.account.close(self)
        self.peer.leave()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection of a client that has only finished sending, until it has its answers."""
        newest = self.cycle
        self.ending.measure()  # the event loop closes the connection once everything is fetched
        if self.scheme == "https" or not self.has_request or newest.more_body:
            return False
        newest.keep_alive = False
        if not self.pipeline and newest.scope["http_version"] == "1.1" and not newest.response_started:
            self.transport.write(INTERIM)
            self.reset_timer.start()
        return True

    def on_finished_sending(self) -> None:
        """Check whether a client that has finished sending has gone, until its answer starts."""
        if is_reset(self.transport):
            self.transport.abort()
        elif not self.cycle.response_started:
            self.reset_timer.start()

    # ------------------------------------------------------------------ the end of a connection

    def on_response_complete(self) -> None:
        """Start the next request, or wait for one, or until the client has fetched the last answer."""
        super().on_response_complete()
        if self.transport.is_closing():
            self.ending.wait()
            return
        self.ending.measure()
        if self.timeout_keep_alive_task:
            self.account.wait(self)

    def timeout_keep_alive_handler(self) -> None:
        """End a connection that has had no request for a long time."""
        self.close()

    def on_late_head(self) -> None:
        """End a connection whose client has not sent the head of a request in time."""
        if self.has_request:  # until it is answered, reading may pause
            self.head_timer.start()
        else:
            self.end("header_timeout")

    def end(self, reason: Reason) -> None:
        """End the connection, which has no request, with an answer if its client expects one."""
        metrics.connection_refused("http", reason)
        self.refused = True
        if self.head.open or (self.cycle is None and reason != "header_timeout"):
            self.transport.write(ANSWERS[reason])
        self.close()

    def close(self) -> None:
        """Close the connection once the client has fetched everything, or fetches it too slowly."""
        self.head_timer.cancel()
        self.account.stop_waiting(self)
        self.ending.close()

    def shutdown(self) -> None:
        """Close the connection, or do so after the answer to its request, since the server stops."""
        super().shutdown()
        if self.transport.is_closing():
            self.ending.wait()

    def pause_writing(self) -> None:
        """Measure how fast the client fetches its answer."""
        super().pause_writing()
        self.ending.measure()

    def resume_writing(self) -> None:
        """Resume sending, since the client has fetched most of its answer."""
        super().resume_writing()
        self.ending.resume()

    def on_slow_reader(self) -> None:
        """End the connection of a client that does not fetch its answer, which frees the memory of the answer."""
        metrics.connection_refused("http", "slow_reader")
        self.transport.abort()

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
        kept = without_offer(self.headers)
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/1.1", *(b": ".join(pair) for pair in kept)]
        self.parser = HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.parse(b"\r\n".join([*lines, b"", b""]) + rest)

    def on_message_begin(self) -> None:
        """Start a request."""
        super().on_message_begin()
        self._unset_keepalive_if_required()
        self.head.begin()
        self.scope["state"][PEER] = self.peer

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header. Fields behind the body are dropped, since nothing says that they may replace headers."""
        if self.head.open:
            self.head.add_field(name, value, earlier=len(self.headers))
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start a request whose headers are complete, or queue it."""
        self.head.complete()
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            return
        check_headers(self.headers, self.parser.get_http_version())
        if len(self.pipeline) >= MAX_PIPELINED:
            raise Refusal(HTTPStatus.TOO_MANY_REQUESTS, f"more than {MAX_PIPELINED} requests wait on the connection")
        self.account.stop_waiting(self)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass on a piece of a body."""
        self.head.read_body()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        self.head.read_body()
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
            self.close()
        elif newest.response_complete:  # the body of a request that has its answer
            self.close()
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
        self.close()

    def count(self, problem: problems.Problem, bytes_out: int) -> None:
        """Count and log a request that has no handler."""
        now, address = asyncio.get_running_loop().time(), self.client[0] if self.client else ""
        report = partial(log_with_sizes, problem.status, bytes_out)
        self.engine.refused(Caller(problem.request_id, "http", now, address=address, report=report), problem.code)

    def send_problem(self, problem: problems.Problem) -> int:
        """Send a problem as the last response of the connection. Return the size of the body."""
        response = encode(problem)
        lines = [b": ".join(header) for header in (*self.server_state.default_headers, *response.raw_headers)]
        body = bytes(response.body)
        self.transport.write(STATUS_LINE[problem.status] + b"\r\n".join([*lines, b"", body]))
        return len(body)
