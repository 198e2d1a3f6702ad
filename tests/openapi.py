"""The OpenAPI document of a service with all interfaces, its examples, and the requests that they show."""

import base64
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from fastapi import FastAPI
from jsonschema import Draft202012Validator
from PIL import Image

from service.core.engine import Engine
from service.dialects import routes as dialects
from service.oip import routes as oip
from service.rest.app import build
from service.settings import Settings
from tests.service.core.engines import FakePool

FILE, FORM, JSON = "application/octet-stream", "multipart/form-data", "application/json"
ROUTES = {"predict_route": "/predict", "health_route": "/health"}
"""The settings with which there are paths for Vertex AI."""


def application(engine: Engine) -> FastAPI:
    """Return the application with all interfaces."""
    app = build(engine)
    oip.add(app, engine)
    dialects.add(app, engine)
    return app


ENGINE = Engine(Settings.model_validate(ROUTES), FakePool())
DOCUMENT: dict[str, Any] = json.loads(json.dumps(application(ENGINE).openapi()))
"""The document as it is served, with lists for tuples."""


@dataclass(frozen=True)
class Operation:
    """An operation of the document."""

    method: str
    path: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def description(self) -> dict[str, Any]:
        """Return what the document says about the operation."""
        return DOCUMENT["paths"][self.path][self.method.lower()]

    @property
    def forms(self) -> dict[str, dict[str, Any]]:
        """Return the forms of the body by media type."""
        return self.description.get("requestBody", {}).get("content", {})

    @property
    def parameters(self) -> list[dict[str, Any]]:
        """Return the parameters in the path, the query and the headers."""
        return self.description.get("parameters", [])

    @property
    def answers(self) -> dict[int, dict[str, dict[str, Any]]]:
        """Return the forms of the answers by status and media type."""
        return {int(status): each["content"] for status, each in self.description["responses"].items()}

    @property
    def errors(self) -> dict[str, tuple[int, Any]]:
        """Return the status and the body in the example of each error by its code."""
        return {
            example["value"]["code"]: (status, example["value"])
            for status, content in self.answers.items()
            for form in content.values()
            for example in form["examples"].values()
            if status >= 400 and "code" in example.get("value", ())
        }


OPERATIONS = [Operation(method.upper(), path) for path, each in DOCUMENT["paths"].items() for method in each]
BODIES = [(operation, form, name) for operation in OPERATIONS for form in operation.forms
          for name in operation.forms[form]["examples"]]  # fmt: skip
"""Each example of a request: its operation, media type and name."""


def invalid(value: object, schema: dict[str, Any]) -> list[str]:
    """Return what is wrong with a value, according to a schema of the document."""
    validator = Draft202012Validator({**schema, "components": DOCUMENT["components"]})
    return [error.message for error in validator.iter_errors(value)]


def file(example: dict[str, Any]) -> bytes:
    """Return the content of an example that is a file."""
    head, _, text = example["externalValue"].partition(",")
    assert head.endswith(";base64")
    return base64.b64decode(text, validate=True)


def contents(operation: Operation) -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """Yield the place, the media type, the schema and the example for each example of a body or an answer."""
    described = {"request": operation.forms, **{str(status): each for status, each in operation.answers.items()}}
    for place, content in described.items():
        for media_type, form in content.items():
            for example in form["examples"].values():
                yield place, media_type, form["schema"], example


def having(code: str) -> list[Operation]:
    """Return the operations whose description has an error."""
    return [operation for operation in OPERATIONS if code in operation.errors]


# ---------------------------------------------------------------------- requests and answers


@dataclass(frozen=True)
class Request:
    """A request for an operation: the parameters in its path, query and header, and its body."""

    operation: Operation
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    header: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, object] = field(default_factory=dict)

    def send(self, client: httpx.Client, key: str = "") -> httpx.Response:
        """Send the request with an API key."""
        parameters = self.operation.parameters
        values = {each["name"]: each["example"] for each in parameters if each["in"] == "path"}
        path = self.operation.path.format(**{**values, **self.path})
        headers = {"X-API-Key": key, **self.header}
        return client.request(self.operation.method, path, params=self.query, headers=headers, **self.body)


def example_of(operation: Operation, media_type: str, name: str) -> Request:
    """Return the request that an example shows."""
    example = operation.forms[media_type]["examples"][name]
    if media_type == JSON:
        return Request(operation, body={"json": example["value"]})
    if media_type == FORM:
        return Request(operation, body=parts(example["value"]))
    lengths = {
        each["name"]: str(each["examples"][name]["value"]) for each in operation.parameters if "examples" in each
    }
    sent = "image/png" if media_type == "image/*" else media_type
    return Request(operation, header={**lengths, "Content-Type": sent}, body={"content": file(example)})


def parts(form: Mapping[str, object]) -> dict[str, object]:
    """Return a form as httpx sends it: what is the name of a file is sent as a file."""
    listed = [(name, each) for name, value in form.items() for each in (value if isinstance(value, list) else [value])]
    files = [(name, (each, image())) for name, each in listed if str(each).endswith(".jpg")]
    return {"files": files, "data": {name: str(each) for name, each in listed if not str(each).endswith(".jpg")}}


def image() -> bytes:
    """Return a small image file."""
    target = io.BytesIO()
    Image.new("RGB", (8, 8), "orange").save(target, "JPEG")
    return target.getvalue()


def first(operation: Operation) -> Request:
    """Return the first example of a request, or a request without a body."""
    return next((example_of(*each) for each in BODIES if each[0] == operation), Request(operation))


def misfits(operation: Operation, response: httpx.Response) -> list[str]:
    """Return how a response differs from its description, which has its status and media type."""
    media_type = response.headers["Content-Type"].partition(";")[0]
    form = operation.answers[response.status_code][media_type]
    return invalid(response.json(), form["schema"]) if media_type.endswith("json") else []


def assert_refused(operation: Operation, response: httpx.Response, code: str) -> None:
    """Check that a response is the error of the example, but for its words and its id."""
    status, example = operation.errors[code]
    found = response.json()
    assert (response.status_code, found["code"]) == (status, code)
    assert found.keys() == example.keys()
    assert not misfits(operation, response)
