"""The operations of other servers' interfaces in the OpenAPI document: requests, answers and errors, with examples."""

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

import msgspec

from service.dialects import huggingface, sagemaker, torchserve, vertex
from service.errors import ServiceError
from service.examples import ANSWERS, IMAGE, IMAGE_FILE, MODEL_NAME, example, rendered
from service.rest import problems
from service.rest.openapi import parts
from service.rest.openapi.parts import (
    ANY_IMAGE,
    BINARY,
    FILE,
    FORM,
    HEADERS,
    REFERENCE,
    TEXT,
    TIMING,
    answer,
    path_parameter,
)
from service.rest.openapi.refusals import OF_IMAGES, OF_RUNS, refusals
from service.rest.problems import MEDIA_TYPE, Problem
from service.rest.wire import Failure, Status
from twins.card import FIRST_VERSION
from twins.render import RENDERERS
from twins.render.renderer import JSON

TYPES = (huggingface.Body, vertex.Body)
(*REFERENCES,), SCHEMAS = msgspec.json.schema_components(TYPES, ref_template=REFERENCE)
SCHEMA = dict(zip(TYPES, REFERENCES, strict=True))

TASKS = tuple(huggingface.TASKS.values())
"""The tasks that have models. Each has its own form of the answer."""

# ---------------------------------------------------------------------- requests

FILES = {
    ANY_IMAGE: {"schema": BINARY, "examples": {"image": IMAGE_FILE}},
    FILE: {"schema": BINARY, "examples": {"image": IMAGE_FILE}},
}


def file_form(part: str) -> dict[str, Any]:
    """Return the description of a form that has a file in a part."""
    return {
        "schema": {"type": "object", "required": [part], "properties": {part: BINARY}},
        "encoding": {part: {"contentType": ANY_IMAGE}},
        "examples": {"image": example({part: "cat.jpg"}, f"A file, as `curl -F {part}=@cat.jpg` sends it")},
    }


HUGGING_FACE_BODY = {
    "schema": SCHEMA[huggingface.Body],
    "examples": {
        "image": example({"inputs": IMAGE}, "An image in base64"),
        "parameters": example(
            {"inputs": IMAGE, "parameters": {"function_to_apply": "softmax"}},
            "An image in base64, with parameters",
        ),
    },
}
VERTEX_BODY = {
    "schema": SCHEMA[vertex.Body],
    "examples": {
        "image": example({"instances": [{"b64": IMAGE}]}, "An image in base64"),
        "images": example(
            {"instances": [{"b64": IMAGE}, {"b64": IMAGE}], "parameters": {"model": MODEL_NAME, "top_k": 2}},
            "Several images, with a model and an option of its task",
        ),
    },
}

# ---------------------------------------------------------------------- answers and errors


def success(schemas: Iterable[Mapping[str, Any]], answers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of an answer, whose form depends on the model's task."""
    return {
        "description": "The answer, in the form of the model's task",
        "headers": TIMING,
        "content": {JSON: {"schema": {"anyOf": list(schemas)}, "examples": answers}},
    }


def in_format(name: str) -> dict[str, Any]:
    """Return the description of an answer in a format of our own paths."""
    schemas = [parts.SCHEMA[RENDERERS[task][name].document] for task in TASKS]
    return success(schemas, {task: ANSWERS[task][name] for task in TASKS})


TorchServeBox = Annotated[list[float], msgspec.Meta(min_length=4, max_length=4)]
TORCHSERVE_SCHEMAS = (
    msgspec.json.schema(dict[str, float]),
    msgspec.json.schema(list[dict[str, float | TorchServeBox]]),
    parts.SCHEMA[torchserve.FORMS["segment"].document],
)
TORCHSERVE_ANSWERS = {task: rendered(task, renderer, JSON) for task, renderer in torchserve.FORMS.items()}

OWN_ANSWERS = in_format("json")["content"][JSON]["schema"]["anyOf"]
VERTEX_ENTRY = {"anyOf": [*OWN_ANSWERS, parts.SCHEMA[Failure]]}
VERTEX_SCHEMA = {
    "type": "object",
    "required": ["predictions"],
    "properties": {"predictions": {"type": "array", "items": VERTEX_ENTRY}},
}
VERTEX_ANSWERS = {task: example({"predictions": [ANSWERS[task]["json"]["value"]]}) for task in TASKS}


def form(error: ServiceError, request_id: str) -> Problem:
    """Return an error as its body."""
    return msgspec.structs.replace(problems.describe(error, request_id), error=error.detail)


def refused(*kinds: type[ServiceError]) -> dict[str, Any]:
    """Return the responses with these errors."""
    return refusals(kinds, form, parts.SCHEMA[Problem], MEDIA_TYPE)


# ---------------------------------------------------------------------- operations


def operation(content: Mapping[str, Any], answer: Mapping[str, Any], *kinds: type[ServiceError]) -> dict[str, Any]:
    """Return the description of an operation that runs a model."""
    return {
        "parameters": HEADERS,
        "requestBody": {"required": True, "content": content},
        "responses": {"200": answer, **refused(*kinds)},
    }


HUGGING_FACE = operation({JSON: HUGGING_FACE_BODY, **FILES}, in_format("hf"), *OF_RUNS)
TORCHSERVE = operation(
    {FORM: file_form(torchserve.PART), **FILES}, success(TORCHSERVE_SCHEMAS, TORCHSERVE_ANSWERS), *OF_RUNS
)
SAGEMAKER = operation({FORM: file_form(sagemaker.PART), **FILES}, in_format("json"), *OF_RUNS)
SAGEMAKER["parameters"] = [
    {"name": "X-Amzn-SageMaker-Target-Model", "in": "header", "schema": TEXT, "example": MODEL_NAME},
    *HEADERS,
]
VERTEX = operation(
    {JSON: VERTEX_BODY},
    success([VERTEX_SCHEMA], VERTEX_ANSWERS),
    *(kind for kind in OF_RUNS if kind not in OF_IMAGES),  # an image that fails has its error in its place
)
PING = {
    "responses": {
        "200": answer(Status, "The service is ready", healthy=Status("Healthy")),
        "503": answer(Status, "The service is loading or stopping", unhealthy=Status("Unhealthy")),
    }
}

OPERATIONS: Mapping[Callable[..., Any], dict[str, Any]] = {
    huggingface.answer: HUGGING_FACE,
    torchserve.predict: TORCHSERVE,
    torchserve.ping: PING,
    sagemaker.invoke: SAGEMAKER,
    vertex.predict: VERTEX,
}
"""The description of each handler's operation."""

PARAMETERS = {
    "model": path_parameter("model", MODEL_NAME),
    "version": path_parameter("version", f"{FIRST_VERSION}.0"),
    "task": path_parameter("task", "image-classification", {**TEXT, "enum": list(huggingface.TASKS)}),
}
"""The parameters of paths, by name."""
