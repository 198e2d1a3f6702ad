"""The operations of the OpenAPI document that run a model: bodies, options and answers of each task."""

from collections.abc import Mapping
from typing import Any

import msgspec

from service import errors
from service.examples import ANSWERS, DETAILS, IMAGE, IMAGE_FILE, OPTIONS, REQUEST_ID, example, rendered
from service.rest import problems
from service.rest.endpoints import ENDPOINTS, Endpoint, json_type
from service.rest.openapi.parts import ANY_IMAGE, BINARY, FILE, FORM, HEADERS, SCHEMA, TIMING
from service.rest.openapi.refusals import OF_RUNS, problem
from service.rest.wire import Failure
from twins.render.renderer import JSON


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
