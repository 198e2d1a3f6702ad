"""The errors of the operations in the OpenAPI document."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from service import errors
from service.errors import ServiceError
from service.examples import DETAILS, REQUEST_ID, example
from service.rest import problems
from service.rest.openapi.parts import SCHEMA
from service.rest.problems import MEDIA_TYPE, Problem

PROBLEMS = {
    400: "The request is malformed, or an option is out of range",
    401: "The API key is missing or wrong, or has expired",
    403: "The API key lacks the scope for this, or the service lets no client do it",
    404: "No such model is served",
    406: "The client accepts none of the available response formats",
    408: "The request did not arrive before its deadline",
    413: "The bytes, pixels, frames or number of images exceed a limit",
    415: "The image type is not supported, or the body is compressed",
    422: "The image cannot be decoded",
    429: "Too many images are waiting; see Retry-After",
    500: "The service failed; see its log",
    503: "The service is loading or stopping, or no worker is alive; see Retry-After",
    504: "The deadline has passed or cannot be met",
}

Kinds = tuple[type[ServiceError], ...]

OF_KEYS: Kinds = (errors.Unauthenticated, errors.Forbidden)
OF_CALLS: Kinds = (errors.BadRequest, *OF_KEYS, errors.Internal, errors.DeadlineAlreadyPassed)
"""The errors of every path that may need a key, and of every call."""
OF_MODELS: Kinds = (*OF_CALLS, errors.Unavailable)
OF_A_MODEL: Kinds = (*OF_MODELS, errors.UnknownModel)
OF_BODIES: Kinds = (*OF_CALLS, errors.RequestTimeout, errors.TooLarge, errors.UnsupportedMedia, errors.Overloaded)
OF_IMAGES: Kinds = (errors.UnreadableImage, errors.DecodeTimeout)
OF_RUNS: Kinds = (*OF_A_MODEL, *OF_BODIES, errors.QuotaExceeded, *OF_IMAGES, errors.DeadlineExceeded)
"""The errors of calls that list models, name a model, have a body, and run a model."""


def refusals(
    kinds: Iterable[type[ServiceError]],
    form: Callable[[ServiceError, str], msgspec.Struct],
    schema: Mapping[str, Any],
    media_type: str,
) -> dict[str, Any]:
    """Return the error responses with an example for each error; `form` makes the body of an error with its id."""
    found: dict[str, Any] = {}
    for error in (kind(DETAILS[kind]) for kind in kinds):
        code = problems.status(error)
        response = found.setdefault(str(code), {"description": PROBLEMS[code]})
        content = response.setdefault("content", {media_type: {"schema": schema, "examples": {}}})
        content[media_type]["examples"][error.code] = example(form(error, REQUEST_ID), error.title)
    return found


def problem(*kinds: type[ServiceError]) -> dict[str, Any]:
    """Return the responses with these errors."""
    return refusals(kinds, problems.describe, SCHEMA[Problem], MEDIA_TYPE)
