"""The service answers the examples of requests in its OpenAPI document, and its errors are those of the examples."""

import shutil
from collections.abc import Mapping
from dataclasses import replace

import httpx
import pytest

from service.access import key_file
from service.access.keys import Key, digest
from service.examples import MODEL_NAME
from tests.openapi import (
    BODIES,
    DOCUMENT,
    FILE,
    OPERATIONS,
    ROUTES,
    Operation,
    Request,
    assert_refused,
    example_of,
    first,
    having,
    misfits,
)
from tests.server import Server
from twins.card import FIRST_VERSION
from twins.zoo import hub
from twins.zoo.models import ModelReference

KEY, WEAK_KEY = "a-key-of-this-test", "a-key-that-allows-little"
MAX_BYTES = 4096
CONTROL = {"/v2/repository/models/{model}/load", "/v2/repository/models/{model}/unload"}
"""The paths that need the setting --allow-model-control, which this service does not have."""


@pytest.fixture(scope="module")
def weak_keys(tmp_path_factory):
    """Return a file with a key that is known and has another scope than a call needs."""
    path = tmp_path_factory.mktemp("keys") / "keys.toml"
    key_file.write(path, [Key("weak", digest(WEAK_KEY), ("control",))])
    return path


@pytest.fixture(scope="module")
def client(weak_keys):
    """Return a client of a service with all interfaces, which wants a key."""
    keys = ("--api-key", KEY, "--keys-file", str(weak_keys), "--protect-metrics")
    flags = (*keys, *("--max-body-bytes", str(MAX_BYTES)))
    routes = (part for name, path in ROUTES.items() for part in (f"--{name.replace('_', '-')}", path))
    with Server(*flags, *routes) as running, httpx.Client(base_url=running.http, timeout=60) as client:
        yield client


def test_the_document_is_the_one_that_is_served(client):
    assert client.get("/openapi.json").json() == DOCUMENT


@pytest.mark.parametrize(("operation", "media_type", "name"), BODIES, ids=str)
def test_an_example_of_a_request_is_answered_as_described(client, operation, media_type, name):
    response = example_of(operation, media_type, name).send(client, KEY)
    assert response.status_code == (403 if operation.path in CONTROL else 200), response.text
    assert not misfits(operation, response)


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if not each.forms], ids=str)
def test_a_request_without_a_body_is_answered_as_described(client, operation):
    response = Request(operation).send(client, KEY)
    assert response.status_code == 200
    assert not misfits(operation, response)


def test_the_examples_of_orders_are_carried_out_where_clients_may_control_models(tmp_path):
    folder = tmp_path / MODEL_NAME / FIRST_VERSION
    folder.mkdir(parents=True)
    shutil.copy(hub.fetch(ModelReference(MODEL_NAME)), folder / "checkpoint.safetensors")
    orders = [example_of(*each) for each in BODIES if each[0].path in CONTROL]
    load, *_ = loads = [each for each in orders if each.operation.path.endswith("/load")]
    unload, *unloads = [each for each in orders if each.operation.path.endswith("/unload")]
    with (
        Server("--model-repository", str(tmp_path), "--allow-model-control") as running,
        httpx.Client(base_url=running.http, timeout=60) as client,
    ):
        for order in (*loads, unload, load, *unloads):  # so that there is a model to unload
            response = order.send(client)
            assert response.status_code == 200, response.text
            assert not misfits(order.operation, response)


# ---------------------------------------------------------------------- errors

FAULTY: Mapping[str, Mapping[str, str]] = {
    "bad_request": {"X-Request-Timeout": "soon"},
    "deadline_already_passed": {"X-Request-Timeout": "0.000001"},
    "not_acceptable": {"Accept": "text/html"},
    "unsupported_media_type": {"Content-Encoding": "gzip"},
}
"""Headers that make the service answer with an error, whatever the operation."""


def faulty() -> list[tuple[Operation, str]]:
    """Return each operation with each of these errors that its description has."""
    return [(operation, code) for code in FAULTY for operation in having(code)]


@pytest.mark.parametrize(("operation", "code"), faulty(), ids=str)
def test_an_error_of_an_example_is_what_the_service_answers(client, operation, code):
    request = first(operation)
    changed = replace(request, header={**request.header, **FAULTY[code]})
    assert_refused(operation, changed.send(client, KEY), code)


@pytest.mark.parametrize("operation", having("unauthenticated"), ids=str)
def test_a_missing_key_is_the_error_of_the_example(client, operation):
    assert_refused(operation, first(operation).send(client), "unauthenticated")


@pytest.mark.parametrize("operation", having("too_large"), ids=str)
def test_a_long_body_is_the_error_of_the_example(client, operation):
    changed = replace(first(operation), body={"content": bytes(MAX_BYTES + 1)})
    assert_refused(operation, changed.send(client, KEY), "too_large")


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
    assert_refused(operation, changed.send(client, KEY), "unknown_model")


@pytest.mark.parametrize("operation", [each for each in having("unreadable_image") if FILE in each.forms], ids=str)
def test_a_damaged_image_is_the_error_of_the_example(client, operation):
    request = example_of(operation, FILE, "image")
    content = request.body["content"]
    damaged = replace(request, body={"content": content[: len(content) // 2]})
    assert_refused(operation, damaged.send(client, KEY), "unreadable_image")


@pytest.mark.parametrize("operation", having("forbidden"), ids=str)
def test_a_key_without_the_scope_is_the_error_of_the_example(client, operation):
    # it has the scope control, but the service has no model control
    assert_refused(operation, first(operation).send(client, WEAK_KEY), "forbidden")
