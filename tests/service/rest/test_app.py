"""The application over an engine without any worker."""

import pytest
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from service.core.engine import Engine
from service.rest.app import build
from service.settings import Settings
from tests.service.core.engines import FakePool


@pytest.fixture
def engine():
    return Engine(Settings(max_queue=1), FakePool())


@pytest.fixture
def client(engine):
    return TestClient(build(engine), raise_server_exceptions=False)


def test_a_full_queue_refuses_a_request_before_its_body_is_read(client, engine):
    def body():
        raise AssertionError("the body was read")
        yield b""

    engine.admission.count("first", 1)
    response = client.post("/classify", content=body())
    assert (response.status_code, response.json()["code"]) == (429, "overloaded")


def test_an_unexpected_error_outside_any_call_is_a_problem_counted_and_logged(client, monkeypatch):
    def fail(*, openmetrics):
        raise RuntimeError("the disk is gone")

    monkeypatch.setattr(client.app.state, "metrics", [fail])
    with capture_logs() as lines:
        response = client.get("/metrics", headers={"X-Request-ID": "odd-1"})
    assert (response.status_code, response.json()["code"]) == (500, "internal")
    assert response.headers["x-request-id"] == response.json()["request_id"] == "odd-1"
    assert "disk" not in response.text
    assert [line["code"] for line in lines if line.get("request_id") == "odd-1"] == ["internal"]


@pytest.mark.parametrize(
    ("method", "path", "detail"),
    [
        ("GET", "/no{where}", "the path /no%7Bwhere%7D does not exist; /docs lists the paths"),
        ("GET", "/classify", "the path /classify does not accept GET; it accepts OPTIONS, POST"),
        ("DELETE", "/models", "the path /models does not accept DELETE; it accepts GET, HEAD, OPTIONS"),
    ],
)
def test_a_request_without_a_route_is_answered_with_what_exists(client, method, path, detail):
    assert client.request(method, path).json()["detail"] == detail


@pytest.mark.parametrize(
    "headers", [{"X-API-Key": " open "}, {"Authorization": "Bearer  open "}], ids=["key", "bearer"]
)
def test_blanks_around_a_key_are_not_a_part_of_it(headers):
    client = TestClient(build(Engine(Settings(api_keys=["open"]), FakePool())))
    assert client.get("/models", headers=headers).status_code == 200


def test_the_openapi_document_is_encoded_once(client, monkeypatch):
    first = client.get("/openapi.json").content
    monkeypatch.setattr(client.app, "openapi", None)
    assert client.get("/openapi.json").content == first


def test_metrics_whose_folder_is_deleted_are_unavailable_until_it_is_there_again(client, tmp_path, monkeypatch):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "deleted"))
    response = client.get("/metrics")
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert int(response.headers["retry-after"]) >= 1
