"""The OpenAPI document of a service with all interfaces, and its examples."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from jsonschema import Draft202012Validator

from service.core.engine import Engine
from service.dialects import routes as dialects
from service.oip import routes as oip
from service.rest.app import build
from service.settings import Settings
from tests.service.core.engines import FakePool

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
