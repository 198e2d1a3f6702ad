"""Errors in HTTP: `application/problem+json` (RFC 9457) with a stable code and the request's id."""

from http import HTTPStatus

import msgspec
from starlette.responses import Response

from service import errors
from service.errors import ServiceError

STATUS: dict[type[ServiceError], int] = {
    errors.BadRequest: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.UnknownModel: 404,
    errors.NotAcceptable: 406,
    errors.RequestTimeout: 408,
    errors.TooLarge: 413,
    errors.UnsupportedMedia: 415,
    errors.UnreadableImage: 422,
    errors.Overloaded: 429,
    errors.Cancelled: 499,
    errors.Internal: 500,
    errors.Refused: 503,
    errors.DeadlineExceeded: 504,
}

HEADERS: dict[type[ServiceError], dict[str, str]] = {
    errors.Unauthenticated: {"WWW-Authenticate": "Bearer"},
    errors.RequestTimeout: {"Connection": "close"},  # the rest of the body may never come
}

TITLES = {kind.code: kind.title for kind in STATUS}

MEDIA_TYPE = "application/problem+json"


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """The fields of RFC 9457, and two more: `code` is stable, and `request_id` is the one in the log."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    error: str = ""  # the detail again, where a client of another server looks for it


def status(error: ServiceError) -> int:
    """Return the status of the error's nearest ancestor in the table."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def describe(error: ServiceError, request_id: str) -> Problem:
    """Return an error as a problem."""
    return Problem(f"urn:twins:{error.code}", error.title, status(error), error.detail, error.code, request_id)


def respond(error: ServiceError, request_id: str) -> Response:
    """Return an error as a response."""
    return encode(describe(error, request_id), headers(error))


def headers(error: ServiceError) -> dict[str, str]:
    """Return the headers of the response to an error."""
    found = dict(HEADERS.get(type(error), {}))
    if error.retry_after_s is not None:
        found["Retry-After"] = str(error.retry_after_s)
    return found


def describe_status(code: int, request_id: str, detail: str = "") -> Problem:
    """Return a refusal that has a status but no class of its own, such as an unknown path, as a problem."""
    phrase, name = HTTPStatus(code).phrase, status_code_name(code)
    return Problem(f"urn:twins:{name}", TITLES.get(name, phrase), code, detail or phrase, name, request_id)


def status_code_name(code: int) -> str:
    """Return the stable code of such a refusal."""
    return HTTPStatus(code).phrase.lower().replace(" ", "_")


def encode(problem: Problem, headers: dict[str, str]) -> Response:
    """Return a problem as a response."""
    return Response(msgspec.json.encode(problem), problem.status, headers, MEDIA_TYPE)
