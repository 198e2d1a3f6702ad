"""The interfaces of other servers: Hugging Face, TorchServe, SageMaker and Vertex AI."""

import base64
import io

import httpx
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from tests.server import Server

PREDICT, HEALTH = "/predict-here", "/health-here"
VERTEX = {"AIP_PREDICT_ROUTE": PREDICT, "AIP_HEALTH_ROUTE": HEALTH}


@pytest.fixture(scope="module")
def server(detector):
    models = ("--model", "twins_svt_nano", "--model", "twins_svt_nano_fpn", "--model", detector)
    with Server(*models, environ=VERTEX) as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    with httpx.Client(base_url=server.http, timeout=60) as made:
        yield made


def code(response: httpx.Response) -> tuple[int, str]:
    """Return the status and the code of an error."""
    return response.status_code, response.json()["code"]


# ---------------------------------------------------------------------- Hugging Face


@pytest.mark.parametrize("path", ["", "/models/twins_svt_nano", "/pipeline/image-classification"])
def test_hugging_faces_client_classifies(server, cat, path):
    best, second = InferenceClient(server.http + path).image_classification(cat, top_k=2)
    assert best.label == "cat"
    assert best.score > second.score


@pytest.mark.parametrize("path", ["/models/twins_svt_nano_fpn", "/pipeline/image-segmentation"])
def test_hugging_faces_client_segments(server, cat, path):
    found = InferenceClient(base_url=server.http + path).image_segmentation(cat)
    assert "cat" in {each.label for each in found}
    assert all(each.mask.size == (451, 300) for each in found)


@pytest.mark.parametrize("path", ["/models/tiny", "/pipeline/object-detection"])
def test_hugging_faces_client_detects(server, cat, path):
    found = InferenceClient(server.http + path).object_detection(cat, threshold=0.0)
    assert {each.label for each in found} <= {"cat", "dog", "bird"}
    assert all(0 <= each.box.xmin <= each.box.xmax <= 451 for each in found)


def test_hugging_faces_client_sees_the_reason_of_an_error(server):
    with pytest.raises(HfHubHTTPError, match="not an image of a known type"):
        InferenceClient(server.http).image_classification(b"no image")


@pytest.mark.parametrize(
    ("path", "parameters", "expected"),
    [
        ("/", {"function_to_apply": "sigmoid"}, (400, "bad_request")),
        ("/pipeline/image-segmentation", {"subtask": "panoptic"}, (400, "bad_request")),
        ("/", {"topk": 3}, (400, "bad_request")),
        ("/", {"top_k": "3"}, (400, "bad_request")),
        ("/pipeline/translation", {}, (404, "unknown_model")),
        ("/models/nothing", {}, (404, "unknown_model")),
        ("/models/twins_svt_nano/pipeline/image-segmentation", {}, (400, "bad_request")),
    ],
)
def test_a_parameter_task_or_model_that_does_not_exist_is_refused(client, cat, path, parameters, expected):
    body = {"inputs": base64.b64encode(cat).decode(), "parameters": parameters}
    assert code(client.post(path, json=body)) == expected


# ---------------------------------------------------------------------- TorchServe and SageMaker


@pytest.mark.parametrize("path", ["/predictions/twins_svt_nano", "/predictions/twins_svt_nano/1.0"])
@pytest.mark.parametrize("form", ["body", "form"])
def test_torchserves_path_returns_scores_by_label(client, cat, path, form):
    sent = {"content": cat} if form == "body" else {"files": {"data": cat}}
    scores = client.post(path, **sent).json()
    assert len(scores) == 5
    assert max(scores, key=scores.get) == "cat"


def test_torchserves_path_returns_boxes_by_label(client, cat):
    found = client.post("/predictions/tiny", content=cat).json()
    assert all(each.keys() - {"score"} < {"cat", "dog", "bird"} for each in found)


def test_torchserves_path_returns_the_masks_of_our_own(client, cat):
    assert client.post("/predictions/twins_svt_nano_fpn", content=cat).json()["size"] == {"height": 300, "width": 451}


def test_a_version_that_does_not_exist_is_refused(client, cat):
    assert code(client.post("/predictions/twins_svt_nano/7", content=cat)) == (404, "unknown_model")


@pytest.mark.parametrize("files", [{"other": "text"}, {"data": b"x", "more": b"y"}])
def test_a_form_must_have_one_file(client, files):
    assert code(client.post("/predictions/twins_svt_nano", files=files)) in [
        (400, "bad_request"),
        (415, "unsupported_media_type"),
    ]


@pytest.mark.parametrize("path", ["/ping", HEALTH])
def test_health_is_answered_where_the_platforms_ask(client, path):
    response = client.get(path)
    assert (response.status_code, response.json()) == (200, {"status": "Healthy"})


def test_sagemaker_invokes_the_first_model_or_the_one_it_names(client, cat):
    headers = {"Content-Type": "image/jpeg"}
    assert client.post("/invocations", content=cat, headers=headers).json()["predictions"][0]["label"] == "cat"
    named = {**headers, "X-Amzn-SageMaker-Target-Model": "twins_svt_nano_fpn"}
    assert client.post("/invocations", content=cat, headers=named).json()["model"] == "twins_svt_nano_fpn"


def test_an_empty_body_has_no_image(client):
    assert code(client.post("/invocations", content=b"")) == (400, "bad_request")


# ---------------------------------------------------------------------- Vertex AI


def test_vertex_gets_a_prediction_or_an_error_for_each_instance(client, cat):
    instances = [{"b64": base64.b64encode(each).decode()} for each in (cat, b"no image")]
    answer = client.post(PREDICT, json={"instances": instances, "parameters": {"top_k": 1}}).json()
    first, second = answer["predictions"]
    assert first["predictions"][0]["label"] == "cat"
    assert second["error"]["code"] == "unsupported_media_type"


def test_vertex_may_name_a_model(client, cat):
    body = {"instances": [{"b64": base64.b64encode(cat).decode()}], "parameters": {"model": "twins_svt_nano_fpn"}}
    assert client.post(PREDICT, json=body).json()["predictions"][0]["model"] == "twins_svt_nano_fpn"


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"instances": [{}]}', b'{"instances": []}', b'{"instances": "x"}'])
def test_a_malformed_request_of_vertex_is_refused(client, body):
    assert code(client.post(PREDICT, content=body)) == (400, "bad_request")


def test_hugging_faces_format_is_one_of_classify(client, cat):
    found = client.post("/classify", content=cat, params={"format": "hf", "top_k": 1}).json()
    assert [each["label"] for each in found] == ["cat"]


def test_a_large_image_is_within_the_limits_of_every_interface(client):
    body = io.BytesIO(b"\0" * (65 * 2**20))
    for path in ("/predictions/twins_svt_nano", "/invocations", "/", PREDICT):
        body.seek(0)
        assert code(client.post(path, content=body.read())) == (413, "too_large")
