"""What several operations of the OpenAPI document share: schemas, headers, parameters and answers in JSON."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from service.examples import REQUEST_ID, example
from service.rest.endpoints import ENDPOINTS
from service.rest.problems import Problem
from service.rest.wire import Failure, ModelList, Readiness, Status
from twins.card import Card
from twins.render.renderer import JSON

REFERENCE = "#/components/schemas/{name}"
DOCUMENTS = [each.document for endpoint in ENDPOINTS.values() for each in endpoint.renderers.values() if each.document]
TYPES = (*(each.body for each in ENDPOINTS.values()), *DOCUMENTS, Failure, ModelList, Status, Readiness, Problem, Card)

(*REFERENCES,), SCHEMAS = msgspec.json.schema_components(TYPES, ref_template=REFERENCE)
SCHEMA = dict(zip(TYPES, REFERENCES, strict=True))

TEXT = {"type": "string"}
BINARY = {"type": "string", "format": "binary"}
FORM, FILE, ANY_IMAGE = "multipart/form-data", "application/octet-stream", "image/*"

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


def answer(kind: type, description: str, **values: Any) -> dict[str, Any]:
    """Return the description of a response with a JSON body of that type; `values` are examples by name."""
    examples = {name: example(value) for name, value in values.items()}
    return {"description": description, "content": {JSON: {"schema": SCHEMA[kind], "examples": examples}}}


def path_parameter(name: str, value: str, schema: Mapping[str, Any] = TEXT) -> dict[str, Any]:
    """Return the description of a parameter in a path, with a value as an example."""
    return {"name": name, "in": "path", "required": True, "schema": schema, "example": value}


def at(path: str, operation: Mapping[str, Any], known: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the description of an operation at a path, with its parameters, which are among the known ones."""
    parameters = [known[name] for name in re.findall(r"{(\w+)}", path)]
    return {**operation, "parameters": [*parameters, *operation.get("parameters", ())]}
