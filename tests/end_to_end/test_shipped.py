"""The models that ship, through a service with default settings."""

import httpx
import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from service.pb.twins.v1 import twins_pb2, twins_pb2_grpc
from tests.crafted import encoded
from tools.documents import ROOT
from twins.zoo import hub
from twins.zoo.models import DEFAULT_MODELS, parse_reference

WEIGHTS = [hub.fetch(parse_reference(name)) for name in DEFAULT_MODELS.values()]


def test_all_are_served_by_default(server):
    listed = httpx.get(f"{server.http}/models").json()["models"]
    assert [(each["name"], each["task"]) for each in listed] == [(name, task) for task, name in DEFAULT_MODELS.items()]


def test_the_cat_is_classified_as_a_cat_with_a_high_score(server, cat):
    best = httpx.post(f"{server.http}/classify", files={"image": cat}).json()["predictions"][0]
    assert best["label"] == "cat"
    assert best["score"] > 0.7


def test_the_cat_is_found_in_its_image(server, cat):
    found = httpx.post(f"{server.http}/segment", files={"image": cat}, data={"masks": "none"}, timeout=60).json()
    shares = {each["label"]: each["share"] for each in found["classes"]}
    assert shares["cat"] > 0.5  # the face fills most of it
    assert all(share < 0.01 for label, share in shares.items() if label not in ("cat", "background"))


def test_the_cat_is_found_as_an_object(server, cat):
    found = httpx.post(f"{server.http}/detect", files={"image": cat}, data={"masks": "none"}, timeout=60).json()
    best = found["detections"][0]
    left, top, right, bottom = best["box"]
    assert best["label"] == "cat"
    assert (right - left) * (bottom - top) > 0.5 * 451 * 300


def test_people_and_cars_are_found_on_the_lawn(server):
    image = (ROOT / "examples" / "lawn.jpg").read_bytes()
    found = httpx.post(f"{server.http}/detect", files={"image": image}, data={"threshold": "0.3"}, timeout=60).json()
    labels = [each["label"] for each in found["detections"]]
    assert labels.count("person") >= 2
    assert "car" in labels


def test_grpc_gives_the_same_answer(server, cat):
    import grpc

    with grpc.insecure_channel(server.grpc) as channel:
        twins = twins_pb2_grpc.TwinsStub(channel)
        classified = twins.Classify(twins_pb2.ClassifyRequest(image=cat), timeout=60)
        segmented = twins.Segment(twins_pb2.SegmentRequest(image=cat), timeout=60)
        detected = twins.Detect(twins_pb2.DetectRequest(image=cat), timeout=60)
    assert classified.predictions[0].label == "cat"
    assert "cat" in [each.label for each in segmented.classes]
    assert detected.detections[0].label == "cat"


@pytest.mark.parametrize("seed", range(5))
def test_an_image_of_nothing_gets_no_high_score(server, seed):
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (7, 7, 3), np.uint8)).resize((200, 200), Image.Resampling.BICUBIC)
    answer = httpx.post(f"{server.http}/classify", content=encoded("PNG", coarse)).json()
    assert answer["predictions"][0]["score"] < 0.99


@pytest.mark.parametrize("name", DEFAULT_MODELS.values())
def test_a_models_card_is_served_with_it(server, name):
    document = (ROOT / "twins" / "weights" / f"{name}.md").read_text("utf-8")
    url = f"{server.http}/models/{name}"
    assert httpx.get(url).json()["document"] == document
    alone = httpx.get(url, headers={"Accept": "text/markdown"})
    assert (alone.text, alone.headers["content-type"]) == (document, "text/markdown; charset=utf-8")


def test_the_models_that_ship_are_small():
    assert sum(path.stat().st_size for path in WEIGHTS) <= 40e6


@pytest.mark.parametrize("path", WEIGHTS, ids=lambda path: path.stem)
def test_weights_are_in_half_precision(path):
    with safe_open(path, "pt") as file:
        kinds = {file.get_slice(key).get_dtype() for key in file.keys() if "running_" not in key}  # noqa: SIM118 - no dict
    assert kinds == {"F16"}
