"""The service on a Ray cluster of three nodes: the answers of `twins serve`, and none lost when a node dies.

`make ray-test` runs this in a network namespace of its own.
"""

import asyncio
import json
import sys
import threading
import time

import grpc
import httpx
import numpy as np
import pytest
import torch

from service.pb.twins.v1 import twins_pb2 as pb
from service.pb.twins.v1 import twins_pb2_grpc as pb_grpc
from tests.end_to_end.test_same_answers import TASKS, WAYS, check_same
from tests.golden import cases
from tests.ray.clients import Record, load
from tests.ray.service import RayService
from tests.server import Server, wait_until
from tools.documents import ROOT
from twins.zoo.models import DEFAULT_MODELS

pytestmark = pytest.mark.ray

CLIENTS = 32
GOLDEN = "pipeline-twins_svt_small"
BEFORE_S, AFTER_S, RECOVERY_S = 4.0, 4.0, 90.0
ALL = {"device": "cpu", "precision": "float32"}
HEADER = "serve_multiplexed_model_id"


@pytest.fixture(scope="module")
def cat() -> bytes:
    return (ROOT / "examples" / "cat.jpg").read_bytes()


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> list[str]:
    """The models that ship, and a golden case as a checkpoint."""
    path = tmp_path_factory.mktemp("golden") / "small.pth"
    torch.save(cases.read(GOLDEN).state(), path)
    return [*DEFAULT_MODELS.values(), f"twins_svt_small={path}"]


@pytest.fixture(scope="module")
def ray():
    with RayService() as running:
        yield running


@pytest.fixture(scope="module")
def deployed(ray, models) -> RayService:
    """The service with two replicas, each with a quarter of a GPU that the nodes pretend to have."""
    found = ray.ask("deploy", models=models, min_replicas=2, max_replicas=2, gpus=0.25, **ALL)
    assert found == {"running": 2, "proxies": 3, "reserved": {"CPU": 2.0, "GPU": 0.5}}
    return ray


@pytest.fixture(scope="module")
def server(models):
    with Server(*(flag for each in models for flag in ("--model", each)), "--device", "cpu") as running:
        yield running


def test_golden_images_have_the_answers_of_the_reference_and_of_twins_serve(deployed, server):
    case = cases.read(GOLDEN)
    for size, image in case.images().items():
        found = [
            httpx.post(f"{each.http}/classify", content=image, params={"model": "twins_svt_small"}, timeout=60).json()
            for each in (server, deployed)
        ]
        assert found[0].keys() == found[1].keys()
        ids, scores = (
            [[each[field] for each in answer["predictions"]] for answer in found] for field in ("class_id", "score")
        )
        assert ids[0] == ids[1] == case.expected[f"top5-{size}.index"].tolist()
        np.testing.assert_allclose(scores[1], scores[0], rtol=0, atol=1e-5)
        np.testing.assert_allclose(scores[1], case.expected[f"top5-{size}.score"], rtol=1e-3)


@pytest.mark.parametrize("way", WAYS)
def test_an_image_has_the_answers_of_twins_serve_over_every_protocol(deployed, server, cat, way):
    for task in TASKS:
        check_same(WAYS[way](server, task, [cat])[0], WAYS[way](deployed, task, [cat])[0])


REQUESTS = {
    "no image": ("POST", "/classify", {"content": b"nothing"}),
    "half an image": ("POST", "/classify", {"content": b"\xff\xd8\xff\xe0 is how a JPEG starts"}),
    "unknown model": ("POST", "/classify?model=nothing", {"content": b"x"}),
    "bad option": ("POST", "/classify?top_k=0", {"content": b"x"}),
    "unknown path": ("GET", "/nowhere", {}),
    "wrong method": ("GET", "/classify", {}),
    "deadline": ("POST", "/segment", {"content": b"x", "headers": {"X-Request-Timeout": "0"}}),
    "too long a body": ("POST", "/classify", {"content": b"x" * (65 * 2**20)}),
    "V2": ("POST", "/v2/models/twins_svt_nano/infer", {"content": b"{}"}),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_refused_request_has_the_status_and_body_of_twins_serve(deployed, server, name):
    method, path, content = REQUESTS[name]
    given = {**content, "headers": {**content.get("headers", {}), "X-Request-ID": "chosen-by-the-client"}}
    ours, rays = (httpx.request(method, f"{each.http}{path}", timeout=60, **given) for each in (server, deployed))
    assert (rays.status_code, rays.content) == (ours.status_code, ours.content)
    different = {"date", "server", "server-timing", "connection"}
    assert {k: v for k, v in rays.headers.items() if k not in different} == {
        k: v for k, v in ours.headers.items() if k not in different
    }


def failure(address: str, message: bytes, **options) -> tuple:
    """Return the status of a call that fails, with its details and metadata but the ids."""
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/twins.v1.Twins/Classify")(message, timeout=30, **options)
    ids = ("request_id", "x-request-id")
    return caught.value.code(), caught.value.details(), [p for p in caught.value.trailing_metadata() if p[0] not in ids]


CALLS = {
    "malformed": b"\xff\xff\xff",
    "no image": pb.ClassifyRequest(image=b"nothing").SerializeToString(),
    "unknown model": pb.ClassifyRequest(image=b"x", model="nothing").SerializeToString(),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_refused_call_has_the_status_of_twins_serve(deployed, server, name):
    assert failure(deployed.grpc, CALLS[name]) == failure(server.grpc, CALLS[name])


def test_a_stream_has_an_answer_or_an_error_for_each_request(deployed, cat):
    requests = [pb.ClassifyRequest(image=cat, id="good"), pb.ClassifyRequest(image=b"bad", id="bad")]
    with grpc.insecure_channel(deployed.grpc) as channel:
        stream = pb_grpc.TwinsStub(channel).ClassifyStream(iter(requests), timeout=30)
        found = {each.id: each for each in stream}
    assert found["good"].result.predictions[0].label == "cat"
    assert found["bad"].error.code == "unsupported_media_type"
    assert "x-request-id" in dict(stream.trailing_metadata())


def test_the_metrics_of_every_node_have_all_replicas(deployed):
    for address in deployed.every_http:
        page = httpx.get(f"{address}/metrics", timeout=30).text
        up = [line for line in page.splitlines() if line.startswith("twins_worker_up{")]
        assert len({line.partition('replica="')[2].partition('"')[0] for line in up}) == 2


def test_a_node_that_dies_under_load_loses_no_request_that_may_be_repeated(deployed, cat, capsys):
    record, stop = Record(), threading.Event()
    clients = threading.Thread(
        target=lambda: asyncio.run(
            load(deployed.every_http, deployed.every_grpc, cat, count=CLIENTS, stop=stop.is_set, record=record)
        )
    )
    clients.start()
    try:
        wait_until(lambda: len(record.answered) > 10 * CLIENTS, what="the load")
        time.sleep(BEFORE_S)
        killed = deployed.ask("kill")
        wait_until(lambda: deployed.ask("status")["running"] < 2, timeout_s=RECOVERY_S, what="that the loss is noticed")
        noticed = time.monotonic()
        wait_until(lambda: deployed.ask("status")["running"] == 2, timeout_s=RECOVERY_S, what="the second replica")
        recovered = time.monotonic()
        time.sleep(AFTER_S)
    finally:
        stop.set()
        clients.join()
    at = killed["killed_at"]
    report = {
        "answered": len(record.answered),
        "attempts that were repeated": dict(record.repeated),
        "lost": len(record.lost),
        "longest time without any answer, s": round(record.longest_gap_s(at), 2),
        "longest request with its attempts, s": round(max(record.took_s), 2),
        "loss noticed after, s": round(noticed - at, 2),
        "two replicas again after, s": round(recovered - at, 2),
        "answers/s before": round(rate(record.answered, at - BEFORE_S, at), 1),
        "answers/s with one replica": round(rate(record.answered, noticed, recovered), 1),
        "answers/s after": round(rate(record.answered, recovered, recovered + AFTER_S), 1),
    }
    with capsys.disabled():
        sys.stdout.write(f"\n{json.dumps(report, indent=1)}\n")
    assert not record.lost
    assert set(record.answers) == {"cat"}
    assert killed["processes"] > 3
    assert record.repeated  # the node had requests


SMALL = {"device": "cpu", "models": [DEFAULT_MODELS["classify"]]}


def test_replicas_are_added_under_load_and_removed_after_it(ray, cat):
    scale = {"min_replicas": 1, "max_replicas": 2, "target_requests": 2, "upscale_delay_s": 1, "downscale_delay_s": 2}
    assert ray.ask("deploy", **SMALL, **scale)["running"] == 1
    record, stop = Record(), threading.Event()
    addresses = ray.every_http[:1], ray.every_grpc[:1]
    clients = threading.Thread(
        target=lambda: asyncio.run(load(*addresses, cat, count=CLIENTS, stop=stop.is_set, record=record))
    )
    clients.start()
    try:
        wait_until(lambda: ray.ask("status")["running"] == 2, what="a second replica")
    finally:
        stop.set()
        clients.join()
    wait_until(lambda: ray.ask("status")["running"] == 1, what="that the replica is removed")
    assert not record.lost


def asked(address: str, image: bytes, task: str) -> httpx.Response:
    """Return the answer to a request that names its model for the router as well."""
    return httpx.post(f"{address}/{task}", content=image, headers={HEADER: DEFAULT_MODELS[task]}, timeout=60)


def replicas_with(address: str, model: str) -> dict[str, float]:
    """Return how many requests for a model each replica has answered."""
    lines = httpx.get(f"{address}/metrics", timeout=30).text.splitlines()
    found = [line for line in lines if line.startswith("twins_requests_total{") and f'model="{model}"' in line]
    return {each.partition('replica="')[2].partition('"')[0]: float(each.rpartition(" ")[2]) for each in found}


def test_multiplexed_models_are_loaded_on_request_and_their_requests_go_where_they_are(ray, server, cat):
    found = ray.ask("deploy", device="cpu", min_replicas=2, max_replicas=2, models_per_replica=1, precision="float32")
    assert found["running"] == 2
    (address,) = ray.every_http[:1]
    listed = [each["name"] for each in httpx.get(f"{address}/models", timeout=30).json()["models"]]
    assert listed == list(DEFAULT_MODELS.values())  # though a replica holds one of them
    for task in TASKS:
        check_same(WAYS["REST"](server, task, [cat])[0], WAYS["REST"](ray, task, [cat])[0])
    for _ in range(2):
        for task in ("classify", "segment"):
            assert asked(address, cat, task).status_code == 200
    wait_until(lambda: stays(address, cat, "classify"), what="that one replica gets all requests for a model")


def stays(address: str, image: bytes, task: str) -> bool:
    """Return whether one replica has got the next requests for a model."""
    before = replicas_with(address, DEFAULT_MODELS[task])
    for _ in range(8):
        assert asked(address, image, task).status_code == 200
    after = replicas_with(address, DEFAULT_MODELS[task])
    return sum(after[name] > before.get(name, 0) for name in after) == 1


def rate(times: list[float], start: float, end: float) -> float:
    """Return the number of answers per second of an interval."""
    return sum(start <= each < end for each in times) / (end - start) if end > start else 0.0
