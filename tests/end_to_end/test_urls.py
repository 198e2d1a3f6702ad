"""The address of an image in place of an image: the service opens no connection for a client."""

import socket
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest

from service.pb.inference import grpc_service_pb2 as oip
from service.pb.inference import grpc_service_pb2_grpc as oip_grpc
from service.pb.twins.v1 import twins_pb2 as pb
from service.pb.twins.v1 import twins_pb2_grpc as pb_grpc
from tests.server import Server

MODEL = "twins_svt_nano"
SCHEMES = ("http", "https", "ftp")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server("--model", MODEL, "--predict-route", "/predict") as running:
        yield running


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Listen on a free port of the loopback interface. A test fails if anybody has connected."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made
        made.setblocking(False)
        with pytest.raises(BlockingIOError):  # nobody waits to be accepted
            made.accept()


def addresses(listener: socket.socket) -> list[str]:
    """Return addresses of an image that lead to the listener."""
    port = listener.getsockname()[1]
    return [f"{scheme}://127.0.0.1:{port}/cat.jpg" for scheme in SCHEMES]


def tensor(url: str) -> dict[str, Any]:
    """Return a request of the Open Inference Protocol."""
    return {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [url]}]}


FORMS = {
    "an image in JSON": ("/classify", lambda url: {"json": {"image": url}}),
    "images in JSON": ("/classify", lambda url: {"json": {"images": [url, url]}}),
    "a part of a form": ("/classify", lambda url: {"files": [("image", (None, url))]}),
    "a file of a form": ("/classify", lambda url: {"files": [("image", ("cat.jpg", url))]}),
    "a body": ("/classify", lambda url: {"content": url}),
    "an option of the query": ("/classify", lambda url: {"params": {"image": url}}),
    "another task": ("/detect?model=twins_svt_nano", lambda url: {"json": {"image": url}}),
    "a tensor": (f"/v2/models/{MODEL}/infer", lambda url: {"json": tensor(url)}),
    "Hugging Face": ("/", lambda url: {"json": {"inputs": url}}),
    "Hugging Face's path of a model": (f"/models/{MODEL}", lambda url: {"json": {"inputs": url}}),
    "TorchServe": (f"/predictions/{MODEL}", lambda url: {"json": {"data": url}}),
    "TorchServe's form": (f"/predictions/{MODEL}", lambda url: {"files": [("data", (None, url))]}),
    "SageMaker": ("/invocations", lambda url: {"json": {"image": url}}),
    "Vertex AI": ("/predict", lambda url: {"json": {"instances": [{"b64": url}]}}),
    "Vertex AI's address in a bucket": ("/predict", lambda url: {"json": {"instances": [{"gcsUri": url}]}}),
}
"""The path and the request of each form in which a client can send an image."""


def statuses(response: httpx.Response) -> list[int]:
    """Return the status of an answer, or those of the entries of a list."""
    given = response.json()
    entries = given.get("predictions", given) if isinstance(given, dict) else given
    return [each["error"]["status"] for each in entries] if isinstance(entries, list) else [response.status_code]


@pytest.mark.parametrize(("path", "form"), FORMS.values(), ids=FORMS)
def test_an_address_over_http_is_refused_and_not_opened(server, listener, path, form):
    for url in addresses(listener):
        response = httpx.post(server.http + path, **form(url), timeout=60)
        assert all(400 <= status < 500 for status in statuses(response)), response.text


def test_an_address_over_grpc_is_refused_and_not_opened(server, listener):
    for url in addresses(listener):
        image = url.encode()
        given = {"name": "image", "shape": [1], "datatype": "BYTES", "contents": {"bytes_contents": [image]}}
        with grpc.insecure_channel(server.grpc) as channel:
            for method, request in (
                (pb_grpc.TwinsStub(channel).Classify, pb.ClassifyRequest(image=image)),
                (
                    oip_grpc.GRPCInferenceServiceStub(channel).ModelInfer,
                    oip.ModelInferRequest(model_name=MODEL, inputs=[given]),
                ),
            ):
                with pytest.raises(grpc.RpcError) as caught:
                    method(request, timeout=60)
                assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
