"""The parts of the OpenAPI document that FastAPI cannot derive from types: bodies, answers and errors.

`service.examples` has the examples in it.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from fastapi import FastAPI

from service import errors
from service.errors import ServiceError
from service.examples import (
    ANSWERS,
    CARD,
    DETAILS,
    IMAGE,
    IMAGE_FILE,
    MODEL_NAME,
    OPTIONS,
    REQUEST_ID,
    example,
    rendered,
)
from service.rest import problems
from service.rest.endpoints import ENDPOINTS, Endpoint, json_type
from service.rest.problems import MEDIA_TYPE, Problem
from service.rest.wire import Failure, ModelList, Readiness, Status, WorkerCount, listed
from twins.card import Card
from twins.render.renderer import JSON

DESCRIPTION = """Classifies, segments and embeds images, and finds the objects in them, with Twins vision transformers.

`curl -F image=@cat.jpg localhost:8000/classify`

Errors are problem documents (RFC 9457) with a stable `code`. Every answer has the header
`X-Request-ID`, with the value from the request if there is one. Predictions also have `Server-Timing`. The header
`X-Request-Timeout: SECONDS` sets a deadline."""

REFERENCE = "#/components/schemas/{name}"
DOCUMENTS = [each.document for endpoint in ENDPOINTS.values() for each in endpoint.renderers.values() if each.document]
TYPES = (*(each.body for each in ENDPOINTS.values()), *DOCUMENTS, Failure, ModelList, Status, Readiness, Problem, Card)

(*REFERENCES,), SCHEMAS = msgspec.json.schema_components(TYPES, ref_template=REFERENCE)
SCHEMA = dict(zip(TYPES, REFERENCES, strict=True))

TEXT = {"type": "string"}
BINARY = {"type": "string", "format": "binary"}
FORM, FILE, ANY_IMAGE = "multipart/form-data", "application/octet-stream", "image/*"

# ---------------------------------------------------------------------- answers and errors


def answer(kind: type, description: str, **values: Any) -> dict[str, Any]:
    """Return the description of a response with a JSON body of that type; `values` are examples by name."""
    examples = {name: example(value) for name, value in values.items()}
    return {"description": description, "content": {JSON: {"schema": SCHEMA[kind], "examples": examples}}}


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


# ---------------------------------------------------------------------- inference

HEADERS = [
    {
        "name": "X-Request-Timeout",
        "in": "header",
        "schema": {"type": "number", "exclusiveMinimum": 0},
        "description": "Sets the deadline, in seconds.",
        "example": 5,
    },
    {
        "name": "X-Request-ID",
        "in": "header",
        "schema": {"type": "string"},
        "description": "Sets the id of the request, which the answer repeats.",
        "example": REQUEST_ID,
    },
]
TIMING = {"Server-Timing": {"schema": {"type": "string"}, "example": "decode;dur=1.52, queue;dur=0.11, infer;dur=8.40"}}


def inference(endpoint: Endpoint) -> dict[str, Any]:
    """Return the description of an endpoint that runs a model."""
    schemas = {name: schema(json_type(option)) for name, option in endpoint.options.items()}
    kinds = (*OF_RUNS, errors.NotAcceptable) if len(endpoint.offers) > 1 else OF_RUNS
    options = OPTIONS[endpoint.task.name]
    return {
        "parameters": [*(query(name, each, options) for name, each in schemas.items()), *HEADERS],
        "requestBody": request_body(endpoint, schemas),
        "responses": {"200": success(endpoint), **problem(*kinds)},
    }


def query(name: str, schema: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of an option in the query, with an example if `options` has it."""
    examples = {"example": options[name]} if name in options else {}
    return {"name": name, "in": "query", "schema": schema, **examples}


def request_body(endpoint: Endpoint, schemas: dict[str, Any]) -> dict[str, Any]:
    """Return the description of a request's body in each form; `schemas` has those of the options."""
    options = OPTIONS[endpoint.task.name]
    parts = {
        "image": example(
            {"image": ["cat.jpg"], **options}, "A file and an option, as `curl -F image=@cat.jpg` sends it"
        ),
        "images": example({"image": ["cat.jpg", "dog.jpg"]}, "Several files"),
    }
    documents = {
        "image": example({"image": IMAGE, **options}, "An image in base64 and an option"),
        "images": example({"images": [IMAGE, IMAGE]}, "Several images"),
    }
    encoding = {"image": {"contentType": ANY_IMAGE}}
    return {
        "required": True,
        "content": {
            FORM: {"schema": form(schemas), "encoding": encoding, "examples": parts},
            JSON: {"schema": SCHEMA[endpoint.body], "examples": documents},
            ANY_IMAGE: {"schema": BINARY, "examples": {"image": IMAGE_FILE}},
            FILE: {"schema": BINARY, "examples": {"image": IMAGE_FILE}},
        },
    }


def success(endpoint: Endpoint) -> dict[str, Any]:
    """Return the description of an answer in each of the task's formats."""
    renderers = endpoint.renderers.values()
    answers = [SCHEMA[each.document] for each in renderers if each.document]
    several = [{"type": "array", "items": {"anyOf": [each, SCHEMA[Failure]]}} for each in answers]
    return {
        "description": "The answer to one image. Several images get a list in order, with an error for each bad image",
        "headers": TIMING,
        "content": {
            JSON: {"schema": {"anyOf": [*answers, *several]}, "examples": json_answers(endpoint.task.name)},
            **files(endpoint),
        },
    }


def json_answers(task: str) -> dict[str, Any]:
    """Return an answer in each format in JSON, and the answer to several images of which one fails."""
    error = Failure(problems.describe(errors.UnreadableImage(DETAILS[errors.UnreadableImage]), REQUEST_ID))
    return {**ANSWERS[task], "images": example([ANSWERS[task]["json"]["value"], error], "The answer to several images")}


def files(endpoint: Endpoint) -> dict[str, Any]:
    """Return the description of the answers that are files."""
    found: dict[str, Any] = {}
    for name, renderer in endpoint.renderers.items():
        for media_type in renderer.media_types:
            if media_type != JSON:
                content = found.setdefault(media_type, {"schema": BINARY, "examples": {}})
                content["examples"][name] = rendered(endpoint.task.name, renderer, media_type)
    return found


def schema(kind: Any) -> dict[str, Any]:
    """Return the JSON schema of an option's type."""
    return msgspec.json.schema(kind)


def form(options: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a multipart body: images and options."""
    images = {"type": "array", "items": BINARY, "description": "One or several image files."}
    return {"type": "object", "required": ["image"], "properties": {"image": images, **options}}


INFERENCE: dict[str, Any] = {name: inference(endpoint) for name, endpoint in ENDPOINTS.items()}

# ---------------------------------------------------------------------- models and health


def path_parameter(name: str, value: str, schema: Mapping[str, Any] = TEXT) -> dict[str, Any]:
    """Return the description of a parameter in a path, with a value as an example."""
    return {"name": name, "in": "path", "required": True, "schema": schema, "example": value}


def at(path: str, operation: Mapping[str, Any], known: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the description of an operation at a path, with its parameters, which are among the known ones."""
    parameters = [known[name] for name in re.findall(r"{(\w+)}", path)]
    return {**operation, "parameters": [*parameters, *operation.get("parameters", ())]}


MODELS: dict[str, Any] = {
    "parameters": HEADERS,
    "responses": {
        "200": answer(ModelList, "The served models", models=ModelList([listed(CARD)])),
        **problem(*OF_MODELS),
    },
}
MODEL: dict[str, Any] = {
    "parameters": [path_parameter("name", MODEL_NAME), *HEADERS],
    "responses": {"200": answer(Card, "The card of the model", card=CARD), **problem(*OF_A_MODEL)},
}
MODEL["responses"]["200"]["content"]["text/markdown"] = {  # models that ship
    "schema": TEXT,
    "examples": {"card": example("# twins_svt_nano\n\nA classifier of 13 classes.")},
}
STATUS: dict[str, Any] = {"responses": {"200": answer(Status, "The process is alive", alive=Status("alive"))}}
READY: dict[str, Any] = {
    "responses": {
        "200": answer(Readiness, "The service is ready for requests", ready=Readiness("ready", WorkerCount(2, 2))),
        "503": answer(
            Readiness,
            "The service is loading, failing or stopping",
            loading=Readiness("loading", WorkerCount(0, 2)),
            failing=Readiness("failing", WorkerCount(0, 1), {"worker-0": "no batch has succeeded for 30 s"}),
            stopping=Readiness("stopping", WorkerCount(2, 2)),
        ),
    }
}
METRICS: dict[str, Any] = {
    "responses": {
        "200": {
            "description": "The metrics in the Prometheus format",
            "content": {
                "text/plain": {"schema": TEXT, "examples": {"metrics": example("twins_workers_expected 2.0\n")}},
                "application/openmetrics-text": {
                    "schema": TEXT,
                    "examples": {"metrics": example("twins_workers_expected 2.0\n# EOF\n")},
                },
            },
        },
        **problem(*OF_KEYS),
    }
}


FRAMEWORK_SCHEMAS = ("HTTPValidationError", "ValidationError")  # of errors that this service never returns


def add(app: FastAPI) -> None:
    """Add the schemas of this module, and those that others put into `app.state.schemas`, to the document."""
    generate = app.openapi
    app.state.schemas = dict(SCHEMAS)

    def complete() -> dict[str, Any]:
        document = generate()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for name in FRAMEWORK_SCHEMAS:
            schemas.pop(name, None)
        for operations in document["paths"].values():
            for operation in operations.values():
                drop_validation(operation["responses"])
                drop_derived(operation)
                drop_empty(operation["responses"])
        schemas.update(app.state.schemas)
        return document

    app.openapi = complete  # type: ignore[method-assign]


def drop_validation(responses: dict[str, Any]) -> None:
    """Remove the framework's validation error, which this service never returns."""
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]


def drop_derived(operation: dict[str, Any]) -> None:
    """Remove the framework's description of a parameter that is described here as well, which comes after it."""
    if "parameters" in operation:
        last = {(each["name"], each["in"]): each for each in operation["parameters"]}
        operation["parameters"] = list(last.values())


def drop_empty(responses: dict[str, Any]) -> None:
    """Remove the framework's media types of answers, which have no schema."""
    for response in responses.values():
        if "content" in response:
            response["content"] = {name: each for name, each in response["content"].items() if each.get("schema")}
