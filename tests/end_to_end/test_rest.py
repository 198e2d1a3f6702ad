"""The REST interface."""

import base64
import json
import socket
import subprocess

import httpx
import pytest

from tests.end_to_end.conftest import CAT
from tests.server import wait_until


@pytest.fixture(scope="module")
def client(server):
    with httpx.Client(base_url=server.http, timeout=30) as client:
        yield client


def best(response) -> str:
    return response.json()["predictions"][0]["label"]


def test_a_file_in_a_form_is_classified(client, cat):
    response = client.post("/classify", files={"image": ("cat.jpg", cat)})
    assert (response.status_code, best(response)) == (200, "cat")
    assert set(response.json()) == {"model", "predictions"}
    assert set(response.json()["predictions"][0]) == {"label", "class_id", "score"}


@pytest.mark.parametrize("media_type", ["image/jpeg", "image/png", "application/octet-stream", None])
def test_a_bare_image_is_classified_whatever_its_content_type(client, cat, media_type):
    headers = {"Content-Type": media_type} if media_type else {}
    assert best(client.post("/classify", content=cat, headers=headers)) == "cat"


def test_an_image_that_curl_calls_a_form_is_classified(client, cat):
    response = client.post("/classify", content=cat, headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert best(response) == "cat"


@pytest.mark.parametrize("head", ["", "data:image/jpeg;base64,"])
def test_an_image_in_json_is_classified(client, cat, head):
    text = head + base64.b64encode(cat).decode()
    assert best(client.post("/classify", json={"image": text})) == "cat"


def test_several_images_answer_a_list_in_order_with_an_error_in_a_bad_ones_place(client, cat):
    files = [("image", cat), ("image", b"no image"), ("image", cat)]
    response = client.post("/classify", files=files)
    first, bad, last = response.json()
    assert response.status_code == 200
    assert first == last
    assert first["predictions"][0]["label"] == "cat"
    assert (bad["error"]["code"], bad["error"]["status"]) == ("unsupported_media_type", 415)


def test_an_image_that_is_not_base64_fails_alone_in_its_place(client, cat):
    good = base64.urlsafe_b64encode(cat).decode()
    response = client.post("/classify", json={"images": [good, "%%%", "https://example.org/cat.jpg", good]})
    first, bad, url, last = response.json()
    assert (response.status_code, first["predictions"][0]["label"]) == (200, "cat")
    assert first == last
    assert bad["error"]["detail"].startswith("images[1]: not base64")
    assert "URLs are not fetched" in url["error"]["detail"]


def test_an_image_part_needs_no_file_name(client, cat):
    head = b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert best(client.post("/classify", content=head + cat + b"\r\n--b--\r\n", headers=headers)) == "cat"


@pytest.mark.parametrize("arguments", [["-d", "@FILE"], ["--data-binary", "@FILE", "-H", "Content-Encoding: gzip"]])
def test_a_mistake_with_curl_gets_the_right_command(server, arguments):
    called = [word.replace("FILE", str(CAT)) for word in arguments]
    ran = subprocess.run(["curl", "-s", *called, f"{server.http}/classify"], capture_output=True, check=True)
    problem = json.loads(ran.stdout)
    assert (problem["status"], problem["code"]) == (415, "unsupported_media_type")
    assert ("--data-binary" if "-d" in arguments else "Content-Encoding") in problem["detail"]


def test_images_in_json_answer_a_list_even_if_there_is_one(client, cat):
    response = client.post("/classify", json={"images": [base64.b64encode(cat).decode()], "top_k": 1})
    assert [len(entry["predictions"]) for entry in response.json()] == [1]


@pytest.mark.parametrize("where", ["params", "data"])
def test_options_are_taken_from_the_query_and_from_the_form(client, cat, where):
    options = {"top_k": "2", "model": "twins_svt_nano"}
    response = client.post("/classify", files={"image": cat}, **{where: options})
    assert len(response.json()["predictions"]) == 2


def test_a_model_of_fewer_classes_answers_them_all(client, cat):
    predictions = client.post("/classify", content=cat, params={"top_k": 1000}).json()["predictions"]
    assert len(predictions) == 13
    assert sum(p["score"] for p in predictions) == pytest.approx(1, abs=1e-5)


def test_a_request_id_is_returned_or_made(client, cat):
    assert client.post("/classify", content=cat, headers={"X-Request-ID": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert len(client.get("/livez").headers["x-request-id"]) == 32


def test_a_request_id_that_could_break_a_log_is_replaced(client):
    assert client.get("/livez", headers={"X-Request-ID": 'a"b c'}).headers["x-request-id"] != 'a"b c'


def test_server_timing_names_every_stage(client, cat):
    stages = [
        part.split(";")[0].strip() for part in client.post("/classify", content=cat).headers["server-timing"].split(",")
    ]
    assert stages == ["decode_queue", "decode", "preprocess", "queue", "infer", "postprocess"]


REFUSALS = {
    "an unknown model": ({"params": {"model": "absent"}}, 404, "unknown_model", "absent"),
    "an unknown option": ({"params": {"topk": "3"}}, 400, "bad_request", "did you mean top_k"),
    "an option out of range": ({"params": {"top_k": "0"}}, 400, "bad_request", "from 1 to 1000"),
    "an option that is no number": ({"params": {"top_k": "many"}}, 400, "bad_request", "whole number"),
    "a timeout that is no number": ({"headers": {"X-Request-Timeout": "soon"}}, 400, "bad_request", "timeout"),
    "a negative timeout": ({"headers": {"X-Request-Timeout": "-1"}}, 400, "bad_request", "timeout"),
    "a timeout that has passed on arrival": (
        {"headers": {"X-Request-Timeout": "0.000001"}},
        504,
        "deadline_already_passed",
        "",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_is_a_problem_document(client, cat, case):
    request, status, code, hint = REFUSALS[case]
    response = client.post("/classify", content=cat, **request)
    problem = response.json()
    assert (response.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["request_id"] == response.headers["x-request-id"]
    assert hint in problem["detail"]


BODIES = {
    "nothing": ({"content": b""}, 400),
    "JSON that is none": ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 400),
    "JSON without an image": ({"json": {}}, 400),
    "JSON with an unknown field": ({"json": {"img": ""}}, 400),
    "JSON with both": ({"json": {"image": "", "images": []}}, 400),
    "JSON with no images": ({"json": {"images": []}}, 400),
    "base64 that is none": ({"json": {"image": "%%%"}}, 400),
    "a form without an image": ({"files": {"img": b"x"}}, 400),
    "a form whose image is text": ({"data": {"image": "cat.jpg"}, "files": {"other": b""}}, 400),
    "a form without a boundary": ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400),
    "a form that breaks off": (
        {"content": b"--b\r\nContent-Disp", "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
        400,
    ),
    "too many images": ({"files": [("image", b"x")] * 65}, 413),
    "text": ({"content": b"hello", "headers": {"Content-Type": "text/plain"}}, 415),
}


@pytest.mark.parametrize("case", BODIES)
def test_a_malformed_body_is_rejected(client, case):
    request, status = BODIES[case]
    assert client.post("/classify", **request).status_code == status


def test_a_body_over_the_limit_is_refused_before_it_is_sent(server):
    host, _, port = server.http.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 413")


def test_a_body_without_a_length_is_refused_at_the_limit(client):
    chunks = (bytes(2**20) for _ in range(80))
    response = client.post("/classify", content=chunks)
    assert response.status_code == 413


def test_unknown_paths_and_methods_are_problems_too(client):
    unknown, method = client.get("/nowhere").json(), client.get("/classify").json()
    assert (unknown["code"], unknown["detail"]) == (
        "not_found",
        "the path /nowhere does not exist; /docs lists the paths",
    )
    assert method["code"] == "method_not_allowed"
    assert method["detail"] == "the path /classify does not accept GET; it accepts OPTIONS, POST"


def test_the_models_are_listed_with_the_backend_that_runs_them(client, server):
    chosen = server.events("worker ready")[0]["backend"]
    for entry in client.get("/models").json()["models"]:
        expected = "torch" if entry["task"] == "detect" else chosen
        assert entry["backend"] == expected == client.get(f"/models/{entry['name']}").json()["backend"]


def test_the_models_and_their_cards_are_listed(client):
    entry, *others = client.get("/models").json()["models"]
    card = client.get(f"/models/{entry['name']}").json()
    shown = {"variant": "svt_nano", "version": "1", "backend": card["backend"]}
    assert entry == {"name": "twins_svt_nano", "task": "classify", "classes": 13, **shown}
    assert others == [
        {"name": "twins_svt_nano_fpn", "task": "segment", "classes": 13, **shown},
        {"name": "twins_svt_nano_maskrcnn", "task": "detect", "classes": 12, **shown, "backend": "torch"},
    ]
    assert card["labels"][2] == {"name": "cat", "synset": None, "colour": None, "category": None}
    assert card["geometry"] == {"short_side": 124, "crop": 112, "interpolation": "bicubic", "long_side": None}
    assert card["normalisation"]["mean"] == [0.485, 0.456, 0.406]
    assert card["measured"]["figures"] == {"top1": 83.6, "top5": 98.2}
    assert {"source", "licence", "published", "parameters"} <= set(card)
    assert client.get("/models/absent").status_code == 404


def test_health_documents_and_index_answer(client):
    for path in ("/livez", "/readyz", "/healthz", "/docs", "/openapi.json", "/twins.proto", "/"):
        assert client.get(path).status_code == 200, path


def test_a_request_is_counted_once_and_logged_once(server, client, cat):
    labels = {"model": "twins_svt_nano", "protocol": "http", "code": "ok"}
    before = server.metric("twins_requests_total", **labels)
    client.post("/classify", content=cat, headers={"X-Request-ID": "counted"})
    wait_until(lambda: server.metric("twins_requests_total", **labels) == before + 1, what="the count")
    assert len(server.events("request", request_id="counted")) == 1


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [("GET", "/nowhere", "not_found"), ("GET", "/classify", "method_not_allowed"), ("GET", "/models", "ok")],
)
def test_requests_that_run_no_model_are_counted_and_logged_too(server, client, method, path, code):
    before = server.metric("twins_requests_total", model="", code=code)
    client.request(method, path, headers={"X-Request-ID": f"no-model-{code}"})
    assert server.metric("twins_requests_total", model="", code=code) == before + 1
    assert len(server.events("request", request_id=f"no-model-{code}", code=code)) == 1


def test_the_api_documentation_needs_no_other_site(client):
    assert "//cdn" not in client.get("/docs").text


def test_an_endless_header_is_rejected(server):
    host, _, port = server.http.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nX-Long: " + b"a" * 200_000)
        assert connection.recv(65536).startswith(b"HTTP/1.1 4")


def test_an_unknown_model_name_does_not_become_a_label(server, client, cat):
    client.post("/classify", content=cat, params={"model": "made-up"})
    assert "made-up" not in client.get("/metrics").text
