"""Requests and answers over HTTP: JSON, and binary values behind it."""

import base64
import json

import msgspec
import numpy as np
import pytest

from service.errors import BadRequest
from service.oip import tensors
from service.oip.inference import InferResponse, RequestedOutput
from service.oip.json_form import Wanted, encode, parse

IMAGE = b"\x89PNG\0\xff"
TEXT = base64.b64encode(IMAGE).decode()


def body(**changes: object) -> dict:
    """Return a request in JSON, with changes to its input."""
    given = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [TEXT], **changes}
    return {"inputs": [{name: value for name, value in given.items() if value is not None}]}


def parsed(document: object, rest: bytes = b"", length: int | None = None):
    """Return the request in a document with binary values behind it."""
    text = json.dumps(document).encode()
    header = str(len(text)) if rest and length is None else None if length is None else str(length)
    return parse("m", "1", text + rest, header)


@pytest.mark.parametrize("data", [[TEXT], [[TEXT]], [TEXT.rstrip("=")]])
def test_an_image_in_json_is_base64(data):
    request, _ = parsed(body(data=data))
    assert list(request.inputs[0].values.flat) == [IMAGE]


def test_binary_values_follow_the_json_part_in_order():
    first = {"name": "a", "shape": [2], "datatype": "UINT8", "parameters": {"binary_data_size": 2}}
    second = {"name": "b", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 7}}
    request, _ = parsed({"inputs": [first, second]}, b"\1\2" + b"\3\0\0\0abc")
    assert [each.values.tolist() for each in request.inputs] == [[1, 2], [b"abc"]]


def test_a_header_of_zero_means_that_the_body_is_the_image():
    request, wanted = parse("m", "", IMAGE, "0")
    assert list(request.inputs[0].values) == [IMAGE]
    assert wanted.binary("anything")


def test_everything_else_of_a_request_is_read():
    outputs = [
        {"name": "scores", "parameters": {"classification": 3}},
        {"name": "labels", "parameters": {"binary_data": True}},
    ]
    request, wanted = parsed(
        {**body(), "id": "x", "outputs": outputs, "parameters": {"top_k": 2, "unknown": 1.5}, "more": {}}
    )
    assert (request.model, request.version, request.id) == ("m", "1", "x")
    assert request.outputs == (RequestedOutput("scores", 3), RequestedOutput("labels"))
    assert request.parameters == {"top_k": 2, "unknown": 1.5}
    assert [wanted.binary(name) for name in ("scores", "labels", "others")] == [False, True, False]


@pytest.mark.parametrize("text", ["-1", "1.0", "x", "", "99999999999999999999", "٣"])
def test_a_length_that_is_none_is_refused(text):
    with pytest.raises(BadRequest, match="Inference-Header-Content-Length"):
        parse("m", "", json.dumps(body()).encode(), text)


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"inputs": [{}]},
        {"inputs": "x"},
        body(shape=["1"]),
        body(data=None),
        body(data="x"),
        body(data=[1]),
        body(data=["?"]),
        body(data=["http://host/image.jpg"]),
        body(data=None, parameters={"binary_data_size": 5}),
        body(data=None, parameters={"binary_data_size": True}),
        body(data=None, parameters={"binary_data_size": "5"}),
        {**body(), "outputs": [{"name": "scores", "parameters": {"classification": "3"}}]},
        {**body(), "outputs": [{"name": "scores", "parameters": {"classification": -1}}]},
        body(shape=[0, 2**63 - 1], data=[]),
        body(shape=[10**4000, 10**4000], datatype="UINT8", data=[]),
    ],
)
def test_a_malformed_request_is_refused(document):
    with pytest.raises(BadRequest):
        parsed(document)


def test_bytes_behind_the_last_tensor_are_refused():
    with pytest.raises(BadRequest, match="3 bytes follow"):
        parsed(body(), b"abc")


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[" * 100_000, b"null"])
def test_a_body_that_is_no_json_is_refused(text):
    with pytest.raises(BadRequest, match="JSON"):
        parse("m", "", text, None)


def response() -> InferResponse:
    """Return an answer with two outputs."""
    scores = tensors.numbers("scores", "FP32", [[0.5, np.nan]])
    return InferResponse("m", "1", "", (scores, tensors.texts("labels", np.array([["cat", ""]], object))), ())


def test_an_answer_in_json_has_flat_data_and_null_for_no_value():
    content, size = encode(response(), Wanted(all=False, by_name={}))
    document = msgspec.json.decode(content)
    assert size is None
    assert [each["data"] for each in document["outputs"]] == [[0.5, None], ["cat", ""]]
    assert document["outputs"][0]["shape"] == [1, 2]
    assert "id" not in document


def test_an_answer_may_be_binary_in_part():
    content, size = encode(response(), Wanted(all=True, by_name={"scores": False}))
    assert size is not None
    scores, labels = msgspec.json.decode(content[:size])["outputs"]
    assert scores["data"] == [0.5, None]
    assert labels["parameters"] == {"binary_data_size": 11}
    assert content[size:] == b"\3\0\0\0cat\0\0\0\0"
