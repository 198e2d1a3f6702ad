"""The OpenAPI document's parts that types alone do not give."""

from typing import Any

import msgspec
from fastapi import FastAPI

from service.rest.endpoints import CLASSIFY_ENDPOINT, SEGMENT_ENDPOINT, Endpoint
from service.rest.problems import MEDIA_TYPE, Problem
from service.rest.wire import ClassifyAnswer, Failure, ModelList, Status
from twins.card import Card
from twins.render.document import SegmentAnswer
from twins.render.formats import JPEG, JSON, NPY, PNG
from twins.render.huggingface import Segment

DESCRIPTION = """Classifies and segments images with Twins vision transformers.

`curl -F image=@cat.jpg localhost:8000/classify`

Errors are problem documents (RFC 9457) with a stable `code`. Every answer carries `X-Request-ID`, which is yours if you
sent one, and predictions carry `Server-Timing`. `X-Request-Timeout: SECONDS` sets a deadline."""

REFERENCE = "#/components/schemas/{name}"
BODIES = (CLASSIFY_ENDPOINT.body, SEGMENT_ENDPOINT.body)
TYPES = (*BODIES, ClassifyAnswer, SegmentAnswer, Segment, Failure, ModelList, Status, Problem, Card)

(*REFERENCES,), SCHEMAS = msgspec.json.schema_components(TYPES, ref_template=REFERENCE)
SCHEMA = dict(zip((kind.__name__ for kind in TYPES), REFERENCES, strict=True))

BINARY = {"type": "string", "format": "binary"}


def answer(name: str, description: str) -> dict[str, Any]:
    """A response with a JSON body of a named schema."""
    media_type = MEDIA_TYPE if name == "Problem" else "application/json"
    return {"description": description, "content": {media_type: {"schema": SCHEMA[name]}}}


def problem(*codes: int) -> dict[str, Any]:
    """The error responses with these codes."""
    return {str(code): answer("Problem", PROBLEMS[code]) for code in codes}


PROBLEMS = {
    400: "The request is malformed, or an option is out of range",
    401: "The API key is missing or wrong",
    404: "Unknown model",
    406: "The client accepts none of the available response formats",
    408: "The request did not arrive before its deadline",
    413: "The bytes, pixels, frames or number of images exceed a limit",
    415: "Not an image of a supported type, or a compressed body",
    422: "The image cannot be decoded",
    429: "Too many images are waiting; see Retry-After",
    500: "Internal error",
    503: "The service is loading or stopping, or no worker is alive; see Retry-After",
    504: "The deadline has passed or cannot be met",
}

HEADERS = [
    {
        "name": "X-Request-Timeout",
        "in": "header",
        "schema": {"type": "number", "exclusiveMinimum": 0},
        "description": "seconds",
    },
    {"name": "X-Request-ID", "in": "header", "schema": {"type": "string"}, "description": "returned with the answer"},
]


def inference(endpoint: Endpoint, description: str, *answers: dict[str, Any], **others: Any) -> dict[str, Any]:
    """An endpoint that runs a model; `answers` are an image's in JSON, `others` those in other media types."""
    schemas = {name: schema(option.kind) for name, option in endpoint.options.items()}
    problems = [code for code in PROBLEMS if code != 406 or others]
    several = [{"type": "array", "items": {"anyOf": [each, SCHEMA["Failure"]]}} for each in answers]
    return {
        "parameters": [*({"name": name, "in": "query", "schema": each} for name, each in schemas.items()), *HEADERS],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": form(schemas), "encoding": {"image": {"contentType": "image/*"}}},
                JSON: {"schema": SCHEMA[endpoint.body.__name__]},
                "image/*": {"schema": BINARY},
                "application/octet-stream": {"schema": BINARY},
            },
        },
        "responses": {
            "200": {
                "description": f"{description}. Several images: a list in order, with an error in a bad image's place",
                "headers": {"Server-Timing": {"schema": {"type": "string"}}},
                "content": {JSON: {"schema": {"anyOf": [*answers, *several]}}, **others},
            },
            **problem(*problems),
        },
    }


def schema(kind: Any) -> dict[str, Any]:
    """The JSON schema of an option's type."""
    return msgspec.json.schema(kind)


def form(options: dict[str, Any]) -> dict[str, Any]:
    """A multipart body: images, and options beside them."""
    images = {"type": "array", "items": BINARY, "description": "one image file or several"}
    return {"type": "object", "required": ["image"], "properties": {"image": images, **options}}


CLASSIFY = inference(CLASSIFY_ENDPOINT, "The best classes", SCHEMA["ClassifyAnswer"])

SEGMENT = inference(
    SEGMENT_ENDPOINT,
    "A mask, in the form that `format` names or else `Accept`",
    SCHEMA["SegmentAnswer"],
    {"type": "array", "items": SCHEMA["Segment"]},
    **{media_type: {"schema": BINARY} for media_type in (PNG, JPEG, NPY)},
)

MODELS: dict[str, Any] = {"responses": {"200": answer("ModelList", "The models"), **problem(401, 503)}}
MODEL: dict[str, Any] = {"responses": {"200": answer("Card", "The card"), **problem(401, 404, 503)}}
MODEL["responses"]["200"]["content"]["text/markdown"] = {"schema": {"type": "string"}}  # of models that ship
STATUS: dict[str, Any] = {"responses": {"200": answer("Status", "Alive")}}
READY: dict[str, Any] = {
    "responses": {"200": answer("Status", "Ready"), "503": answer("Status", "Loading or stopping")}
}
METRICS: dict[str, Any] = {
    "responses": {"200": {"description": "Metrics", "content": {"text/plain": {"schema": {"type": "string"}}}}}
}


def add(app: FastAPI) -> None:
    """Completes the application's document with our schemas."""
    generate = app.openapi

    def complete() -> dict[str, Any]:
        document = generate()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for name in ("HTTPValidationError", "ValidationError"):  # the framework's; ours are problems
            schemas.pop(name, None)
        for operations in document["paths"].values():
            for operation in operations.values():
                drop_validation(operation["responses"])
        schemas.update(SCHEMAS)
        return document

    app.openapi = complete  # type: ignore[method-assign]


def drop_validation(responses: dict[str, Any]) -> None:
    """The framework documents a refusal that ours replaces."""
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
