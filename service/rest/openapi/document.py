"""The OpenAPI document as a whole: what it says of the service, its schemas, and what is removed of the framework's."""

from typing import Any

from fastapi import FastAPI

from service.rest.openapi.parts import SCHEMAS

DESCRIPTION = """Classifies, segments and embeds images, and finds the objects in them, with Twins vision transformers.

`curl -F image=@cat.jpg localhost:8000/classify`

Errors are problem documents (RFC 9457) with a stable `code`. Every answer has the header
`X-Request-ID`, with the value from the request if there is one. Predictions also have `Server-Timing`. The header
`X-Request-Timeout: SECONDS` sets a deadline."""

FRAMEWORK_SCHEMAS = ("HTTPValidationError", "ValidationError")  # of errors that this service never returns


def add(app: FastAPI) -> None:
    """Add the schemas of our own paths, and those that others put into `app.state.schemas`, to the document."""
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
