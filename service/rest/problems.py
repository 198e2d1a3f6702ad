"""Errors as HTTP tells them: `application/problem+json` (RFC 9457) with a stable code and the request's id."""

from http import HTTPStatus

import msgspec
from starlette.responses import Response

from service import errors
from service.errors import ServiceError

STATUS: dict[type[ServiceError], int] = {
    errors.BadRequest: 400,
    errors.Unauthenticated: 401,
    errors.UnknownModel: 404,
    errors.NotAcceptable: 406,
    errors.TooLarge: 413,
    errors.UnsupportedMedia: 415,
    errors.UnreadableImage: 422,
    errors.Overloaded: 429,
    errors.Cancelled: 499,
    errors.Internal: 500,
    errors.Refused: 503,
    errors.DeadlineExceeded: 504,
}

MEDIA_TYPE = "application/problem+json"


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """RFC 9457's fields, and two of ours: `code` is stable, `request_id` is the one in the log."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str


def status(error: ServiceError) -> int:
    """The nearest ancestor's status."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def describe(error: ServiceError, request_id: str) -> Problem:
    """An error as a problem."""
    return Problem(f"urn:twins:{error.code}", error.title, status(error), error.detail, error.code, request_id)


def respond(error: ServiceError, request_id: str) -> Response:
    """An error as a response."""
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, errors.Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return encode(describe(error, request_id), headers)


def respond_to_framework(code: int, request_id: str, headers: dict[str, str] | None = None) -> Response:
    """The framework's own refusals, such as of an unknown path, in the same form."""
    phrase, name = HTTPStatus(code).phrase, framework_code(code)
    return encode(Problem(f"urn:twins:{name}", phrase, code, phrase, name, request_id), headers or {})


def framework_code(status_code: int) -> str:
    """The stable code of such a refusal."""
    return HTTPStatus(status_code).phrase.lower().replace(" ", "_")


def encode(problem: Problem, headers: dict[str, str]) -> Response:
    """A problem as a response."""
    return Response(msgspec.json.encode(problem), problem.status, headers, MEDIA_TYPE)
