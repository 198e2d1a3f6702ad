"""Triton's clients over HTTP and gRPC, waiting and with coroutines, against a real service."""

import pytest

from tests.clients.environment import run
from tests.server import Server
from tools.documents import ROOT

CAT = ROOT / "examples" / "cat.jpg"
NO_IMAGE = "this is not an image of a known type; supported types are JPEG, PNG, WEBP, BMP, GIF, TIFF, AVIF"
PROTOCOLS = ("http", "grpc")


@pytest.fixture(scope="module")
def found() -> dict:
    with Server("--model", "twins_svt_nano", "--allow-model-control") as server:
        return run("triton", "triton.py", server.http.removeprefix("http://"), server.grpc, str(CAT))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_server_and_its_model_are_described(found, protocol):
    answers = found[protocol]
    assert [answers[name] for name in ("live", "ready", "model ready", "other model ready")] == [
        True,
        True,
        True,
        False,
    ]
    assert {"binary_tensor_data", "classification", "statistics", "model_configuration"} <= set(answers["extensions"])
    assert answers["inputs"] == ["image", "pixels", "input"]
    assert answers["outputs"] == ["scores", "class_ids", "labels", "logits", "features", "errors"]
    assert (answers["batch"], answers["index"]) == (64, [["twins_svt_nano", "READY"]])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_encoded_image_is_decoded_and_classified(found, protocol):
    answers = found[protocol]
    assert answers["id"] == "mine"
    assert answers["labels"][0][0] == answers["priority"][0][0] == "cat"
    assert sum(answers["scores"][0]) <= 1
    assert answers["logits"] == 2
    assert answers["features"] == [1, 256]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_request_above_the_batch_limit_is_split_and_put_together_again(found, protocol):
    answers = found[protocol]
    assert answers["rows"] == 20
    assert [row[0] for row in answers["many"]] == ["cat", "cat"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_bad_image_has_its_own_error_and_leaves_the_others_unharmed(found, protocol):
    answers = found[protocol]
    assert answers["errors"] == ["", f"unsupported_media_type: {NO_IMAGE}"]
    assert answers["class_ids"][0][0] == 2
    assert set(answers["class_ids"][1]) == {-1}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_classification_extension_returns_value_index_and_label(found, protocol):
    best, second = found[protocol]["classification"][0]
    value, index, label = best.split(":")
    assert (index, label) == ("2", "cat")
    assert float(value) > float(second.split(":")[0])


@pytest.mark.parametrize(
    ("protocol", "statuses"),
    [
        ("http", ["415", "404", "504"]),
        ("grpc", ["StatusCode.INVALID_ARGUMENT", "StatusCode.NOT_FOUND", "StatusCode.DEADLINE_EXCEEDED"]),
    ],
)
def test_errors_reach_the_client_with_their_message(found, protocol, statuses):
    errors = [found[protocol][name] for name in ("error", "unknown", "late")]
    assert [status for status, _ in errors] == statuses
    assert errors[0][1] == NO_IMAGE


def test_pixels_are_taken_as_a_tensor(found):
    assert len(set(found["pixels"])) == 1


def test_a_stream_answers_every_request_and_survives_a_bad_one(found):
    assert found["stream"] == {"labels": {"0": "cat", "2": "cat"}, "errors": [NO_IMAGE]}


def test_clients_with_coroutines_get_the_same(found):
    assert found["aio"] == ["cat", "cat"]


def test_a_model_is_unloaded_and_loaded_again(found):
    assert found["control"] == [[False, True], [False, True]]


@pytest.mark.parametrize("what", ["shared memory", "trace"])
def test_what_the_service_does_not_have_is_refused_with_a_reason(found, what):
    (http, reason), (grpc, same) = found[what]
    assert (http, grpc) == ("501", "StatusCode.UNIMPLEMENTED")
    assert reason == same != ""


def test_statistics_count_the_requests_that_were_answered(found):
    assert found["grpc"]["answered"] > found["http"]["answered"] > 0
