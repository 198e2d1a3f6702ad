"""The parts of the OpenAPI document that FastAPI cannot derive from types."""

from typing import Any

import msgspec
from fastapi import FastAPI

from service.rest.endpoints import ENDPOINTS, Endpoint, json_type
from service.rest.problems import MEDIA_TYPE, Problem
from service.rest.wire import Failure, ModelList, Readiness, Status
from twins.card import Card
from twins.render.renderer import JSON

DESCRIPTION = """Classifies, segments and embeds images, and finds the objects in them, with Twins vision transformers.

`curl -F image=@cat.jpg localhost:8000/classify`

Errors are problem documents (RFC 9457) with a stable `code`. Every answer has the header
`X-Request-ID`, with the value from the request if there is one. Predictions also have `Server-Timing`. The header
`X-Request-Timeout: SECONDS` sets a deadline."""

REFERENCE = "#/components/schemas/{name}"
RENDERERS = [renderer for endpoint in ENDPOINTS.values() for renderer in endpoint.renderers.values()]
DOCUMENTS = [renderer.document for renderer in RENDERERS if renderer.document]
TYPES = (*(each.body for each in ENDPOINTS.values()), *DOCUMENTS, Failure, ModelList, Status, Readiness, Problem, Card)

(*REFERENCES,), SCHEMAS = msgspec.json.schema_components(TYPES, ref_template=REFERENCE)
SCHEMA = dict(zip(TYPES, REFERENCES, strict=True))

BINARY = {"type": "string", "format": "binary"}


def answer(kind: type, description: str) -> dict[str, Any]:
    """Return the description of a response with a JSON body of that type."""
    media_type = MEDIA_TYPE if kind is Problem else JSON
    return {"description": description, "content": {media_type: {"schema": SCHEMA[kind]}}}


def problem(*codes: int) -> dict[str, Any]:
    """Return the error responses with these codes."""
    return {str(code): answer(Problem, PROBLEMS[code]) for code in codes}


PROBLEMS = {
    400: "The request is malformed, or an option is out of range",
    401: "The API key is missing or wrong",
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

HEADERS = [
    {
        "name": "X-Request-Timeout",
        "in": "header",
        "schema": {"type": "number", "exclusiveMinimum": 0},
        "description": "Sets the deadline, in seconds.",
    },
    {
        "name": "X-Request-ID",
        "in": "header",
        "schema": {"type": "string"},
        "description": "Sets the id of the request, which the answer repeats.",
    },
]


def inference(endpoint: Endpoint) -> dict[str, Any]:
    """Return the description of an endpoint that runs a model."""
    schemas = {name: schema(json_type(option)) for name, option in endpoint.options.items()}
    problems = [code for code in PROBLEMS if code != 406 or len(endpoint.offers) > 1]
    return {
        "parameters": [*({"name": name, "in": "query", "schema": each} for name, each in schemas.items()), *HEADERS],
        "requestBody": request_body(endpoint, schemas),
        "responses": {"200": success(endpoint), **problem(*problems)},
    }


def request_body(endpoint: Endpoint, schemas: dict[str, Any]) -> dict[str, Any]:
    """Return the description of a request's body in each form; `schemas` has those of the options."""
    return {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": form(schemas), "encoding": {"image": {"contentType": "image/*"}}},
            JSON: {"schema": SCHEMA[endpoint.body]},
            "image/*": {"schema": BINARY},
            "application/octet-stream": {"schema": BINARY},
        },
    }


def success(endpoint: Endpoint) -> dict[str, Any]:
    """Return the description of an answer in each of the task's formats."""
    renderers = endpoint.renderers.values()
    answers = [SCHEMA[each.document] for each in renderers if each.document]
    several = [{"type": "array", "items": {"anyOf": [each, SCHEMA[Failure]]}} for each in answers]
    files = [media_type for each in renderers for media_type in each.media_types if media_type != JSON]
    return {
        "description": "The answer to one image. Several images get a list in order, with an error for each bad image",
        "headers": {"Server-Timing": {"schema": {"type": "string"}}},
        "content": {
            JSON: {"schema": {"anyOf": [*answers, *several]}},
            **{media_type: {"schema": BINARY} for media_type in files},
        },
    }


def schema(kind: Any) -> dict[str, Any]:
    """Return the JSON schema of an option's type."""
    return msgspec.json.schema(kind)


def form(options: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a multipart body: images and options."""
    images = {"type": "array", "items": BINARY, "description": "One or several image files."}
    return {"type": "object", "required": ["image"], "properties": {"image": images, **options}}


INFERENCE: dict[str, Any] = {name: inference(endpoint) for name, endpoint in ENDPOINTS.items()}

MODELS: dict[str, Any] = {"responses": {"200": answer(ModelList, "The served models"), **problem(401, 503)}}
MODEL: dict[str, Any] = {"responses": {"200": answer(Card, "The card of the model"), **problem(401, 404, 503)}}
MODEL["responses"]["200"]["content"]["text/markdown"] = {"schema": {"type": "string"}}  # models that ship
STATUS: dict[str, Any] = {"responses": {"200": answer(Status, "The process is alive")}}
READY: dict[str, Any] = {
    "responses": {
        "200": answer(Readiness, "The service is ready for requests"),
        "503": answer(Readiness, "The service is loading or stopping"),
    }
}
METRICS: dict[str, Any] = {
    "responses": {
        "200": {
            "description": "The metrics in the Prometheus format",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        }
    }
}


FRAMEWORK_SCHEMAS = ("HTTPValidationError", "ValidationError")  # of errors that this service never returns


def add(app: FastAPI) -> None:
    """Add the schemas of this module to the application's document."""
    generate = app.openapi

    def complete() -> dict[str, Any]:
        document = generate()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for name in FRAMEWORK_SCHEMAS:
            schemas.pop(name, None)
        for operations in document["paths"].values():
            for operation in operations.values():
                drop_validation(operation["responses"])
        schemas.update(SCHEMAS)
        return document

    app.openapi = complete  # type: ignore[method-assign]


def drop_validation(responses: dict[str, Any]) -> None:
    """Remove the framework's validation error, which this service never returns."""
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
