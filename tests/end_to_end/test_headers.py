"""The headers that protect browsers, on answers, errors and pages."""

import socket

import httpx
import pytest

from service.rest.protection import DEFAULTS

EXPECTED = {name.decode(): value.decode() for name, value in DEFAULTS}
HTML = {"Accept": "text/html"}


@pytest.fixture(scope="module")
def client(server):
    with httpx.Client(base_url=server.http, timeout=60) as made:
        yield made


def found(response: httpx.Response) -> dict[str, str]:
    """Return those headers of a response that have a default."""
    return {name: ",".join(response.headers.get_list(name)) for name in EXPECTED}


@pytest.mark.parametrize("path", ["/classify", "/segment?format=png", "/segment?format=overlay", "/embed", "/detect"])
def test_an_answer_of_a_model_is_not_kept_and_runs_nothing(client, cat, path):
    response = client.post(path, content=cat)
    assert response.status_code == 200
    assert found(response) == EXPECTED


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        *(("GET", path, 200) for path in ("/", "/livez", "/readyz", "/models", "/metrics", "/openapi.json", "/v2")),
        ("POST", "/classify", 400),
        ("GET", "/nowhere", 404),
        ("DELETE", "/models", 405),
        ("OPTIONS", "/models", 204),
        ("GET", "/v2/nowhere", 404),
        ("POST", "/invocations", 400),
    ],
)
def test_other_answers_and_errors_have_the_same_headers(client, method, path, status):
    response = client.request(method, path)
    assert (response.status_code, found(response)) == (status, EXPECTED)


def test_what_the_parser_refuses_has_them_too(server):
    host, _, port = server.http.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        head = b"".join(iter(lambda: connection.recv(65536), b"")).lower()
    assert head.startswith(b"http/1.1 400")
    assert all(b"\r\n" + name + b": " + value.lower() + b"\r\n" in head for name, value in DEFAULTS)


@pytest.mark.parametrize("path", ["/", "/status", "/docs"])
def test_a_page_has_a_policy_of_its_own_in_place_of_the_default(client, path):
    response = client.get(path, headers=HTML)
    (policy,) = response.headers.get_list("content-security-policy")
    assert policy.startswith("default-src 'none'; script-src 'self'")
    assert "frame-ancestors 'none'" in policy
    own = ("content-security-policy", "cache-control")
    assert {name: value for name, value in found(response).items() if name not in own} == {
        name: value for name, value in EXPECTED.items() if name not in own
    }


def test_without_tls_no_answer_demands_it(client):
    assert "strict-transport-security" not in client.get("/models").headers
