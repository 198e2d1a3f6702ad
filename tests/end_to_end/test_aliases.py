"""The paths of the service below `/v1`, which clients with a version in their addresses call."""

import base64

import httpx
import pytest

from tests.server import wait_until

PATHS = ["/models", "/models/twins_svt_nano", "/livez", "/readyz", "/healthz", "/openapi.json", "/twins.proto"]
TASKS = ["/classify", "/segment", "/detect", "/embed"]


@pytest.fixture(scope="module")
def client(server):
    with httpx.Client(base_url=server.http, timeout=30) as client:
        yield client


@pytest.mark.parametrize("path", PATHS)
def test_a_path_below_v1_has_the_answer_of_the_path_itself(client, path):
    alias, own = client.get(f"/v1{path}"), client.get(path)
    assert (alias.status_code, alias.content) == (200, own.content)


@pytest.mark.parametrize("path", TASKS)
def test_a_task_below_v1_has_the_answer_of_the_task_itself(client, cat, path):
    alias, own = (client.post(prefix + path, content=cat) for prefix in ("/v1", ""))
    assert (alias.status_code, alias.json()) == (200, own.json())


def test_every_form_of_a_request_is_taken_below_v1(client, cat):
    answers = [
        client.post("/v1/classify?top_k=1", content=cat),
        client.post("/v1/classify", files={"image": cat}, data={"top_k": "1"}),
        client.post("/v1/classify", json={"image": base64.b64encode(cat).decode(), "top_k": 1}),
    ]
    assert [answer.json()["predictions"][0]["label"] for answer in answers] == ["cat"] * 3
    assert all(len(answer.json()["predictions"]) == 1 for answer in answers)


def test_a_path_below_v1_has_the_methods_of_the_path_itself(client):
    assert client.head("/v1/models/").status_code == 200
    assert client.options("/v1/classify").headers["Allow"] == client.options("/classify").headers["Allow"]
    assert client.get("/v1/classify").status_code == 405


@pytest.mark.parametrize("path", ["/v1", "/v1/v1/models", "/v10/models", "/v1models", "/v3/models"])
def test_other_paths_with_a_version_are_unknown(client, path):
    response = client.get(path)
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_a_request_below_v1_is_logged_under_the_path_itself(server, client, cat):
    client.post("/v1/classify", content=cat, headers={"X-Request-ID": "below-v1"})
    (event,) = wait_until(lambda: server.events("request", request_id="below-v1"))
    assert event["path"] == "/classify"
