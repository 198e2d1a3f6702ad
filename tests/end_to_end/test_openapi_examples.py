"""The service answers the examples of requests in its OpenAPI document, and its errors are those of the examples."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import httpx
import pytest
from PIL import Image

from service.examples import MODEL_NAME
from tests.openapi import BODIES, DOCUMENT, OPERATIONS, ROUTES, Operation, file, invalid
from tests.server import Server

KEY = "a-key-of-this-test"
MAX_BYTES = 4096
FILE, FORM, JSON = "application/octet-stream", "multipart/form-data", "application/json"
CONTROL = {"/v2/repository/models/{model}/load", "/v2/repository/models/{model}/unload"}
"""The paths that need the setting --allow-model-control, which this service does not have."""


@pytest.fixture(scope="module")
def client():
    """Return a client of a service with all interfaces, which wants a key."""
    flags = (*("--api-key", KEY), *("--max-body-bytes", str(MAX_BYTES)))
    routes = (part for name, path in ROUTES.items() for part in (f"--{name.replace('_', '-')}", path))
    with Server(*flags, *routes) as running, httpx.Client(base_url=running.http, timeout=60) as client:
        yield client


@dataclass(frozen=True)
class Request:
    """A request for an operation: the parameters in its path, query and header, and its body."""

    operation: Operation
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    header: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, object] = field(default_factory=dict)

    def send(self, client: httpx.Client, *, key: str = KEY) -> httpx.Response:
        """Send the request."""
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


def problems(operation: Operation, response: httpx.Response) -> list[str]:
    """Return how a response differs from its description, which has its status and media type."""
    described = operation.answers[response.status_code]
    media_type = response.headers["Content-Type"].partition(";")[0]
    form = described[media_type]
    return invalid(response.json(), form["schema"]) if media_type.endswith("json") else []


def test_the_document_is_the_one_that_is_served(client):
    assert client.get("/openapi.json").json() == DOCUMENT


@pytest.mark.parametrize(("operation", "media_type", "name"), BODIES, ids=str)
def test_an_example_of_a_request_is_answered_as_described(client, operation, media_type, name):
    response = example_of(operation, media_type, name).send(client)
    assert response.status_code == (403 if operation.path in CONTROL else 200), response.text
    assert not problems(operation, response)


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if not each.forms], ids=str)
def test_a_request_without_a_body_is_answered_as_described(client, operation):
    response = Request(operation).send(client)
    assert response.status_code == 200
    assert not problems(operation, response)


# ---------------------------------------------------------------------- errors

FAULTY: Mapping[str, Mapping[str, str]] = {
    "bad_request": {"X-Request-Timeout": "soon"},
    "deadline_already_passed": {"X-Request-Timeout": "0.000001"},
    "not_acceptable": {"Accept": "text/html"},
    "unsupported_media_type": {"Content-Encoding": "gzip"},
}
"""Headers that make the service answer with an error, whatever the operation."""


def having(code: str) -> list[Operation]:
    """Return the operations whose description has an error."""
    return [operation for operation in OPERATIONS if code in operation.errors]


def faulty() -> list[tuple[Operation, str]]:
    """Return each operation with each of these errors that its description has."""
    return [(operation, code) for code in FAULTY for operation in having(code)]


def assert_refused(operation: Operation, response: httpx.Response, code: str) -> None:
    """Check that the response is the error of the example, but for its words and its id."""
    status, example = operation.errors[code]
    found = response.json()
    assert (response.status_code, found["code"]) == (status, code)
    assert found.keys() == example.keys()
    assert not problems(operation, response)


@pytest.mark.parametrize(("operation", "code"), faulty(), ids=str)
def test_an_error_of_an_example_is_what_the_service_answers(client, operation, code):
    request = first(operation)
    changed = replace(request, header={**request.header, **FAULTY[code]})
    assert_refused(operation, changed.send(client), code)


@pytest.mark.parametrize("operation", having("unauthenticated"), ids=str)
def test_a_missing_key_is_the_error_of_the_example(client, operation):
    assert_refused(operation, first(operation).send(client, key=""), "unauthenticated")


@pytest.mark.parametrize("operation", having("too_large"), ids=str)
def test_a_long_body_is_the_error_of_the_example(client, operation):
    changed = replace(first(operation), body={"content": bytes(MAX_BYTES + 1)})
    assert_refused(operation, changed.send(client), "too_large")


def naming() -> list[tuple[Operation, str, str]]:
    """Return each operation with the parameters that name a model: where the parameter is, and its name."""
    return [
        (operation, each["in"], each["name"])
        for operation in OPERATIONS
        for each in operation.parameters
        if operation.path not in CONTROL and (each.get("example") == MODEL_NAME or each["name"] == "model")
    ]


@pytest.mark.parametrize(("operation", "where", "name"), naming(), ids=str)
def test_an_unknown_model_is_the_error_of_the_example(client, operation, where, name):
    request = first(operation)
    changed = replace(request, **{where: {**getattr(request, where), name: "cats"}})
    assert_refused(operation, changed.send(client), "unknown_model")


@pytest.mark.parametrize("operation", [each for each in having("unreadable_image") if FILE in each.forms], ids=str)
def test_a_damaged_image_is_the_error_of_the_example(client, operation):
    request = example_of(operation, FILE, "image")
    content = request.body["content"]
    damaged = replace(request, body={"content": content[: len(content) // 2]})
    assert_refused(operation, damaged.send(client), "unreadable_image")


@pytest.mark.parametrize("operation", having("forbidden"), ids=str)
def test_model_control_is_forbidden_as_in_the_example(client, operation):
    assert_refused(operation, first(operation).send(client), "forbidden")
