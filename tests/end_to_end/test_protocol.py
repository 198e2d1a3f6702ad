"""HTTP around the routes: methods, paths, and requests that the parser refuses."""

import json
import socket

import httpx
import pytest

from service.errors import BadRequest
from service.rest.protocol import MAX_PIPELINED
from tests.server import wait_until


@pytest.fixture(scope="module")
def client(server):
    with httpx.Client(base_url=server.http, timeout=30) as client:
        yield client


def exchange(server, data: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes on a new connection, and return the status, headers and body of the answer."""
    host, _, port = server.http.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(data)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))  # up to the end of the connection
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().splitlines()
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(status.split()[1]), headers, body


# ---------------------------------------------------------------------- methods and paths

GETS = ["/", "/livez", "/readyz", "/healthz", "/models", "/models/twins_svt_nano", "/metrics", "/docs", "/openapi.json"]


@pytest.mark.parametrize("path", [*GETS, "/nowhere", "/models/absent"])
def test_head_has_the_headers_of_get_without_the_body(client, path):
    got, headed = client.get(path), client.head(path)
    assert (headed.status_code, headed.content) == (got.status_code, b"")
    assert headed.headers["content-type"] == got.headers["content-type"]
    if path not in ("/metrics", "/nowhere", "/models/absent"):  # whose bodies differ in length from call to call
        assert headed.headers["content-length"] == got.headers["content-length"]


def test_a_connection_goes_on_after_head(server):
    request = b"%s /livez HTTP/1.1\r\nHost: x\r\n%s\r\n"
    _, _, rest = exchange(server, request % (b"HEAD", b"") + request % (b"GET", b"Connection: close\r\n"))
    assert rest.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("path", "methods"),
    [("/classify", {"OPTIONS", "POST"}), *((path, {"GET", "HEAD", "OPTIONS"}) for path in ("/livez", "/models/x"))],
)
def test_options_answers_the_methods_of_a_path(client, path, methods):
    response = client.options(path)
    assert (response.status_code, response.content) == (204, b"")
    assert set(response.headers["allow"].split(", ")) == methods


def test_a_method_that_a_path_does_not_have_is_refused_with_those_that_it_has(client):
    response = client.delete("/models")
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
    assert response.headers["allow"] == "GET, HEAD, OPTIONS"


def test_head_of_a_path_without_get_is_refused(client):
    assert client.head("/classify").status_code == 405


def test_options_of_an_unknown_path_is_not_found(client):
    assert client.options("/nowhere").status_code == 404


def test_a_slash_at_the_end_of_a_path_makes_no_difference(client, cat):
    response = client.post("/classify/", content=cat)
    assert (response.status_code, response.history) == (200, [])
    assert client.get("/models/").json() == client.get("/models").json()


# ---------------------------------------------------------------------- what the parser refuses

HEAD = b"POST /classify HTTP/1.1\r\nHost: x\r\n"
MALFORMED = {
    "no HTTP at all": (b"hello\r\n\r\n", 400, "bad_request"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400, "bad_request"),
    "no host": (b"GET /livez HTTP/1.1\r\n\r\n", 400, "bad_request"),
    "a broken header": (b"GET /livez HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400, "bad_request"),
    "a length that is none": (HEAD + b"Content-Length: many\r\n\r\n", 400, "bad_request"),
    "two lengths": (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "bad_request"),
    "a negative length": (HEAD + b"Content-Length: -5\r\n\r\n", 400, "bad_request"),
    "a length of a body in chunks": (
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "bad_request",
    ),
    "many headers": (b"GET /livez HTTP/1.1\r\n" + b"A: b\r\n" * 200, 431, "request_header_fields_too_large"),
    "an unknown transfer encoding": (HEAD + b"Transfer-Encoding: gzip\r\n\r\n", 501, "not_implemented"),
    "two hosts": (b"GET /livez HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400, "bad_request"),
    "a tunnel": (b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad_request"),
    "endless headers": (b"GET /livez HTTP/1.1\r\nX-Long: " + b"a" * 70_000, 431, "request_header_fields_too_large"),
    "endless names": (b"GET /livez HTTP/1.1\r\n" + b"a" * 70_000, 431, "request_header_fields_too_large"),
    "an endless path": (b"GET /" + b"a" * 70_000, 431, "request_header_fields_too_large"),
}


PLAIN = {
    400: "the HTTP request is malformed: ",
    431: "the ",  # headers are too large, or the request has too many
    501: "the Transfer-Encoding is not supported",
}


@pytest.mark.parametrize("case", MALFORMED)
def test_what_the_parser_refuses_is_a_problem_and_counted(server, case):
    data, status, code = MALFORMED[case]
    before = server.metric("twins_requests_total", protocol="http", code=code)
    answered, headers, body = exchange(server, data)
    problem = json.loads(body)
    assert (answered, problem["status"], problem["code"]) == (status, status, code)
    assert headers["content-type"] == "application/problem+json"
    assert headers["x-request-id"] == problem["request_id"]
    assert problem["detail"].startswith(PLAIN[status])
    assert not [word for word in ("bytearray", "b'", "buffer", "Receive") if word in problem["detail"]]
    if status == 400:
        assert problem["title"] == BadRequest.title
    assert server.wait_for("request", request_id=problem["request_id"])["bytes_out"] == len(body)
    assert server.metric("twins_requests_total", protocol="http", code=code) == before + 1


def test_a_body_whose_chunks_are_malformed_is_refused_and_counted_once(server):
    def count(**labels: str) -> float:
        return server.metric("twins_requests_total", protocol="http", **labels)

    before = {code: count(code=code) for code in ("bad_request", "cancelled")}
    head = HEAD + b"X-Request-ID: chunks-1\r\nTransfer-Encoding: chunked\r\n\r\n"
    status, headers, body = exchange(server, head + b"5\r\nhello\r\nzz\r\n")
    assert (status, json.loads(body)["code"]) == (400, "bad_request")
    assert headers["x-request-id"] == json.loads(body)["request_id"] == "chunks-1"
    wait_until(lambda: count(code="bad_request") == before["bad_request"] + 1, what="the count")
    assert count(code="cancelled") == before["cancelled"]


CHUNKED = HEAD + b"Content-Type: image/jpeg\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_small_chunks_do_not_count_as_headers(server, cat):
    chunks = b"".join(b"2\r\n%b\r\n" % cat[i : i + 2] for i in range(0, len(cat) // 2 * 2, 2))
    status, _, _ = exchange(server, CHUNKED.replace(b"Host", b"Connection: close\r\nHost") + chunks + b"0\r\n\r\n")
    assert status == 200


def post(image: bytes, *headers: bytes) -> bytes:
    """Return a request with an image."""
    return b"\r\n".join((HEAD + b"Content-Length: %d" % len(image), *headers, b"", image))


def test_an_offer_to_change_the_protocol_is_ignored_and_the_body_is_read(server, cat):
    offer = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__")
    _, headers, rest = exchange(
        server, post(cat, *offer) + b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    assert "upgrade" not in headers
    assert rest.startswith(b'{"model":')
    assert b"HTTP/1.1 200" in rest


def test_pipelined_requests_are_answered_in_order(server, cat):
    ids = [b"X-Request-ID: pipelined-%d" % i for i in range(3)]
    _, headers, rest = exchange(server, b"".join(post(cat, id_) for id_ in ids) + b"nonsense\r\n\r\n")
    answered = [headers["x-request-id"], *(line for line in rest.decode().splitlines() if line.startswith("x-request"))]
    assert answered == ["pipelined-0", "x-request-id: pipelined-1", "x-request-id: pipelined-2"]


def test_a_malformed_body_is_refused_after_the_answers_to_earlier_requests(server, cat):
    chunks = HEAD + b"X-Request-ID: queued\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n"
    status, headers, rest = exchange(server, post(cat, b"X-Request-ID: earlier") + chunks)
    assert (status, headers["x-request-id"]) == (200, "earlier")
    _, _, second = rest.partition(b"HTTP/1.1 400")
    assert b"x-request-id: queued" in second.lower()
    assert json.loads(second.partition(b"\r\n\r\n")[2])["code"] == "bad_request"
    assert server.wait_for("request", request_id="queued")["code"] == "bad_request"


def test_fields_behind_a_body_are_no_headers(server, cat):
    head = CHUNKED.replace(b"Host", b"Connection: close\r\nHost")
    status, headers, _ = exchange(server, head + b"%x\r\n%b\r\n0\r\nX-Request-ID: behind\r\n\r\n" % (len(cat), cat))
    assert status == 200
    assert headers["x-request-id"] != "behind"


def test_an_offer_to_change_the_protocol_leaves_the_wish_to_close(server, cat):
    offer = (b"Connection: close, Upgrade", b"Upgrade: h2c")
    status, headers, _ = exchange(server, post(cat, *offer))
    assert (status, headers["connection"]) == (200, "close")


def test_a_connection_is_closed_when_too_many_requests_wait_on_it(server):
    _, _, rest = exchange(server, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
    assert rest.count(b"HTTP/1.1 200") == MAX_PIPELINED
