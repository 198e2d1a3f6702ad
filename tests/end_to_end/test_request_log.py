"""The log line of a request: its client, key, result and sizes."""

import grpc
import httpx
import pytest

from service.pb.twins.v1 import twins_pb2 as pb
from service.pb.twins.v1 import twins_pb2_grpc as pb_grpc
from tests.server import Server

SECRET = "s3cret-of-the-team"
HEADERS = {"X-API-Key": SECRET, "X-Forwarded-For": "203.0.113.9, 198.51.100.7"}


@pytest.fixture(scope="module")
def proxied():
    """A service with keys that believes this machine to be a proxy."""
    keys = {"TWINS_API_KEYS": f"plain-key,team:{SECRET}"}
    with Server("--trusted-proxies", "127.0.0.0/8,::1", environ=keys) as running:
        yield running


@pytest.fixture(scope="module")
def stub(proxied):
    with grpc.insecure_channel(proxied.grpc) as channel:
        yield pb_grpc.TwinsStub(channel)


def line(server, request_id: str) -> dict:
    """Return the one line of a request."""
    found = server.wait_for("request", request_id=request_id)
    assert len(server.events("request", request_id=request_id)) == 1
    return found


def test_a_line_has_client_key_path_status_and_sizes(proxied, cat):
    response = httpx.post(f"{proxied.http}/classify/", content=cat, headers={**HEADERS, "X-Request-ID": "http-1"})
    found = line(proxied, "http-1")
    assert (found["client"], found["key"], found["path"]) == ("198.51.100.7", "team", "/classify")
    assert (found["status"], found["code"], found["images"]) == ("200", "ok", 1)
    assert (found["bytes_in"], found["bytes_out"]) == (len(cat), len(response.content))
    assert found["ms"] > 0


def test_a_refusal_has_its_status_and_size(proxied, cat):
    headers = {**HEADERS, "X-Request-ID": "http-2"}
    response = httpx.post(f"{proxied.http}/classify?model=absent", content=cat, headers=headers)
    found = line(proxied, "http-2")
    assert (found["status"], found["code"]) == ("404", "unknown_model")
    assert (found["bytes_in"], found["bytes_out"]) == (len(cat), len(response.content))


def test_a_request_without_a_key_has_no_name(proxied):
    httpx.get(f"{proxied.http}/models", headers={"X-Request-ID": "http-3", "X-API-Key": "wrong"})
    found = line(proxied, "http-3")
    assert (found["key"], found["status"], found["client"]) == ("", "401", "127.0.0.1")


def test_a_plain_key_is_called_by_its_number(proxied):
    httpx.get(f"{proxied.http}/models/twins_svt_nano", headers={"X-Request-ID": "http-4", "X-API-Key": "plain-key"})
    found = line(proxied, "http-4")
    assert (found["key"], found["path"], found["status"]) == ("key-1", "/models/{name}", "200")


def test_an_unknown_path_is_logged_as_it_came(proxied):
    httpx.get(f"{proxied.http}/no%0Awhere", headers={"X-Request-ID": "http-5"})
    assert (line(proxied, "http-5")["path"], line(proxied, "http-5")["status"]) == ("/no%0Awhere", "404")


def metadata(request_id: str) -> list[tuple[str, str]]:
    """Return the metadata of a call."""
    return [*((name.lower(), value) for name, value in HEADERS.items()), ("x-request-id", request_id)]


def test_a_call_over_grpc_is_logged_alike(proxied, stub, cat):
    request = pb.ClassifyRequest(image=cat)
    response = stub.Classify(request, metadata=metadata("grpc-1"))
    found = line(proxied, "grpc-1")
    assert (found["client"], found["key"]) == ("198.51.100.7", "team")
    assert (found["path"], found["status"], found["code"]) == ("/twins.v1.Twins/Classify", "OK", "ok")
    assert (found["bytes_in"], found["bytes_out"]) == (request.ByteSize(), response.ByteSize())


def test_a_refused_call_over_grpc_has_its_status(proxied, stub, cat):
    with pytest.raises(grpc.RpcError):
        stub.Classify(pb.ClassifyRequest(image=cat, model="absent"), metadata=metadata("grpc-2"))
    assert line(proxied, "grpc-2")["status"] == "NOT_FOUND"


def test_each_request_of_a_stream_has_its_line(proxied, stub, cat):
    requests = [pb.ClassifyRequest(image=cat, id="stream-1"), pb.ClassifyRequest(image=b"text", id="stream-2")]
    assert len(list(stub.ClassifyStream(iter(requests), metadata=metadata("grpc-3")))) == 2
    good, bad = line(proxied, "stream-1"), line(proxied, "stream-2")
    assert {each["path"] for each in (good, bad)} == {"/twins.v1.Twins/ClassifyStream"}
    assert {(each["client"], each["key"]) for each in (good, bad)} == {("198.51.100.7", "team")}
    assert (good["status"], bad["status"]) == ("OK", "INVALID_ARGUMENT")


def test_no_key_is_in_the_log(proxied):
    assert SECRET not in proxied.log()
    assert "plain-key" not in proxied.log()
