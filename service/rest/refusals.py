"""What the parser of HTTP refuses before a request has a handler."""

from http import HTTPStatus

from starlette.responses import Response

from service.core.call import Outcome
from service.core.request_log import log_request
from service.rest import problems
from service.rest.protection import protect

MAX_DETAIL = 200  # characters


class Refusal(Exception):
    """A request that is refused before it has a handler."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail[:MAX_DETAIL]


def encode(problem: problems.Problem) -> Response:
    """Return the last response of a connection."""
    return protect(problems.encode(problem, {"X-Request-ID": problem.request_id, "Connection": "close"}))


def malformed(why: str) -> Refusal:
    """Return the refusal of what is not HTTP."""
    return Refusal(HTTPStatus.BAD_REQUEST, f"the HTTP request is malformed: {why[:1].lower()}{why[1:]}")


def headers_too_large() -> Refusal:
    """Return the refusal of headers that are too large."""
    return Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the headers of the request are too large")


def problem_of(refusal: Refusal, request_id: str) -> problems.Problem:
    """Return a refusal as a problem."""
    return problems.describe_status(refusal.status, request_id, refusal.detail)


def log_with_sizes(status: int, bytes_out: int, outcome: Outcome) -> None:
    """Log a request that the parser refuses."""
    outcome.status, outcome.bytes_out = str(status), bytes_out
    log_request(outcome)
