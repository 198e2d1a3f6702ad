"""Calls from pages of other origins: browsers ask first, and read only what the service allows."""

import httpx
import pytest

from service.rest.app import EXPOSED
from tests.server import Server

PAGE, STRANGER = "https://pages.example.org", "https://elsewhere.example.org"
KEY = "a-key-of-this-test"
SENT = "content-type, x-api-key, x-request-id, x-request-timeout"
ASKED = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": SENT}
"""What a browser asks before a page sends an image with these headers."""

PATHS = [
    *("/classify", "/v1/classify", "/detect", "/models", "/readyz"),
    *("/v2", "/v2/models/twins_svt_nano/infer", "/predictions/twins_svt_nano", "/invocations"),
]


@pytest.fixture(scope="module")
def client():
    """Return a client of a service for the pages of one origin, which wants a key."""
    with (
        Server("--cors-origins", PAGE, "--api-key", KEY) as running,
        httpx.Client(base_url=running.http, timeout=30) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def closed(server):
    """Return a client of a service with the default settings."""
    with httpx.Client(base_url=server.http, timeout=30) as client:
        yield client


def allowances(response: httpx.Response) -> dict[str, str]:
    """Return the headers that allow a browser something."""
    return {name: value for name, value in response.headers.items() if name.startswith("access-control-")}


@pytest.mark.parametrize("path", PATHS)
def test_a_browser_may_send_its_headers_without_showing_the_key_first(client, path):
    response = client.options(path, headers={"Origin": PAGE, **ASKED})
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == PAGE
    assert "POST" in response.headers["Access-Control-Allow-Methods"]
    assert set(SENT.split(", ")) <= set(response.headers["Access-Control-Allow-Headers"].lower().split(", "))


def test_a_page_reads_the_answer_and_its_headers(client, cat):
    response = client.post("/classify", content=cat, headers={"Origin": PAGE, "X-API-Key": KEY})
    assert response.json()["predictions"][0]["label"] == "cat"
    assert response.headers["Access-Control-Allow-Origin"] == PAGE
    assert response.headers["Access-Control-Expose-Headers"].split(", ") == EXPOSED
    assert "X-Request-ID" in response.headers


@pytest.mark.parametrize(("key", "status"), [("", 401), (KEY, 415)])
def test_a_page_reads_errors_as_well(client, key, status):
    response = client.post("/classify", content=b"no image", headers={"Origin": PAGE, "X-API-Key": key})
    assert response.status_code == status
    assert response.headers["Access-Control-Allow-Origin"] == PAGE


def test_a_cache_keeps_the_answers_of_origins_apart(client):
    response = client.get("/readyz", headers={"Origin": PAGE})
    assert response.headers["Vary"] == "Origin"


def test_another_origin_is_allowed_nothing(client):
    asked = client.options("/classify", headers={"Origin": STRANGER, **ASKED})
    answered = client.get("/models", headers={"Origin": STRANGER, "X-API-Key": KEY})
    assert asked.status_code == 400
    assert "Access-Control-Allow-Origin" not in asked.headers
    assert "Access-Control-Allow-Origin" not in answered.headers


def test_other_methods_are_refused(client):
    response = client.options("/classify", headers={"Origin": PAGE, **ASKED, "Access-Control-Request-Method": "DELETE"})
    assert response.status_code == 400


def test_a_star_stands_for_all_origins(cat):
    with Server("--cors-origins", "*", "--model", "twins_svt_nano") as running:
        asked = httpx.options(f"{running.http}/classify", headers={"Origin": STRANGER, **ASKED})
        answered = httpx.post(f"{running.http}/classify", content=cat, headers={"Origin": STRANGER}, timeout=30)
    assert asked.headers["Access-Control-Allow-Origin"] == "*"
    assert answered.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("path", PATHS)
def test_no_page_of_another_origin_is_allowed_anything_by_default(closed, path):
    asked = closed.options(path, headers={"Origin": PAGE, **ASKED})
    answered = closed.get(path, headers={"Origin": PAGE})
    assert allowances(asked) == allowances(answered) == {}
