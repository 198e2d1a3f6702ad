"""Embedding as its users see it: over REST, over gRPC and on the command line."""

import base64
import io
import json
import shutil

import grpc
import httpx
import numpy as np
import pytest
import torch

from service.pb.twins.v1 import twins_pb2 as pb
from service.pb.twins.v1 import twins_pb2_grpc as pb_grpc
from tests.end_to_end.conftest import CAT
from tests.end_to_end.test_cli import SOME_FAILED, call, lines, printed, refused
from twins.images.decode import Limits, decode
from twins.tasks.embed import EMBED, EmbedOptions
from twins.zoo.loading import load
from twins.zoo.models import parse_reference

MODEL, SEGMENTER = "twins_svt_nano", "twins_svt_nano_fpn"
CLOSE = 1e-4  # of values around 1: batches of other sizes add up in another order


@pytest.fixture(scope="module")
def client(server):
    with httpx.Client(base_url=server.http, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def stub(server):
    with grpc.insecure_channel(server.grpc) as channel:
        yield pb_grpc.TwinsStub(channel)


@pytest.fixture(scope="module")
def expected(cat) -> np.ndarray:
    """The features of the cat that the library's network pools."""
    loaded = load(parse_reference(MODEL))
    pixels = EMBED.preprocess(decode(cat, Limits(), exif_orientation=True), loaded.card, EmbedOptions()).pixels
    scale = loaded.card.normalisation
    x = torch.from_numpy((pixels / 255 - np.array(scale.mean)) / np.array(scale.std)).float()
    with torch.inference_mode():
        return loaded.network.pooled(x.permute(2, 0, 1)[None])[0].numpy()


# ---------------------------------------------------------------------- REST


def test_the_embedding_is_what_the_librarys_classifier_pools(client, cat, expected):
    answer = client.post("/embed", content=cat).json()
    assert (answer["model"], answer["dim"], set(answer)) == (MODEL, expected.size, {"model", "dim", "embedding"})
    assert answer["embedding"] == pytest.approx(expected, abs=CLOSE)


def test_a_normalised_embedding_has_length_one(client, cat, expected):
    found = np.array(client.post("/embed", content=cat, params={"normalize": "true"}).json()["embedding"])
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)
    assert found == pytest.approx(expected / np.linalg.norm(expected), abs=CLOSE)


def test_base64_holds_the_same_values(client, cat, expected):
    answer = client.post("/embed", content=cat, params={"format": "base64"}).json()
    found = np.frombuffer(base64.b64decode(answer["embedding"]), "<f4")
    assert answer["dim"] == found.size
    assert found == pytest.approx(expected, abs=CLOSE)


@pytest.mark.parametrize("how", [{"params": {"format": "npy"}}, {"headers": {"Accept": "application/x-npy"}}])
def test_a_numpy_file_holds_the_same_values(client, cat, expected, how):
    response = client.post("/embed", content=cat, **how)
    found = np.load(io.BytesIO(response.content), allow_pickle=False)
    assert response.headers["content-type"] == "application/x-npy"
    assert (found.dtype, found.shape) == (np.float32, expected.shape)
    assert found == pytest.approx(expected, abs=CLOSE)


def test_several_images_are_embedded_in_order_with_an_error_in_a_bad_ones_place(client, cat, expected):
    first, bad, last = client.post("/embed", files=[("image", cat), ("image", b"no image"), ("image", cat)]).json()
    assert bad["error"]["code"] == "unsupported_media_type"
    for answer in (first, last):
        assert answer["embedding"] == pytest.approx(expected, abs=CLOSE)


def test_options_in_json_have_their_own_types(client, cat):
    body = {"images": [base64.b64encode(cat).decode()], "normalize": True, "format": "base64", "model": MODEL}
    (answer,) = client.post("/embed", json=body).json()
    assert np.linalg.norm(np.frombuffer(base64.b64decode(answer["embedding"]), "<f4")) == pytest.approx(1, abs=1e-5)


REFUSALS = {
    "a segmentation model": ({"params": {"model": SEGMENTER}}, 400, "for the task segment; it cannot embed"),
    "an unknown model": ({"params": {"model": "nobody"}}, 404, "nobody"),
    "an unknown format": ({"params": {"format": "csv"}}, 400, "json, npy, base64"),
    "a normalize that is neither": ({"params": {"normalize": "yes"}}, 400, "true or false"),
    "another task's option": ({"params": {"top_k": "3"}}, 400, "no option is called 'top_k'"),
    "an unknown media type": ({"headers": {"Accept": "image/png"}}, 406, "application/json, application/x-npy"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_says_what_is_wrong(client, cat, case):
    request, status, hint = REFUSALS[case]
    response = client.post("/embed", content=cat, **request)
    assert (response.status_code, response.json()["status"]) == (status, status)
    assert hint in response.json()["detail"]


# ---------------------------------------------------------------------- gRPC


def test_grpc_returns_the_same_embedding(stub, cat, expected):
    response = stub.Embed(pb.EmbedRequest(image=cat, id="7"))
    assert (response.id, response.model) == ("7", MODEL)
    assert response.timing.infer > 0
    assert list(response.embedding) == pytest.approx(expected, abs=CLOSE)


def test_grpc_normalises_if_asked_to(stub, cat):
    response = stub.Embed(pb.EmbedRequest(image=cat, normalize=True))
    assert np.linalg.norm(response.embedding) == pytest.approx(1, abs=1e-5)


def test_a_stream_embeds_every_image_by_its_id(stub, cat, expected):
    images = {"a": cat, "b": b"no image", "c": cat}
    requests = (pb.EmbedRequest(image=data, id=name) for name, data in images.items())
    answers = {response.id: response for response in stub.EmbedStream(requests)}
    assert answers["b"].error.code == "unsupported_media_type"
    for name in ("a", "c"):
        assert list(answers[name].result.embedding) == pytest.approx(expected, abs=CLOSE)


def test_grpc_refuses_a_segmentation_model(stub, cat):
    with pytest.raises(grpc.RpcError) as caught:
        stub.Embed(pb.EmbedRequest(image=cat, model=SEGMENTER))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "cannot embed" in caught.value.details()


# ---------------------------------------------------------------------- the command line


def test_the_command_prints_an_embedding_per_line(expected):
    (line,) = lines("embed", CAT)
    assert (line["file"], line["dim"], set(line)) == (str(CAT), expected.size, {"file", "dim", "embedding"})
    assert line["embedding"] == pytest.approx(expected, abs=CLOSE)


def test_the_command_writes_numpy_files(tmp_path, expected):
    (line,) = lines("embed", CAT, "--normalize", "--output", tmp_path / "out")
    found = np.load(tmp_path / "out" / "cat.npy", allow_pickle=False)
    assert line == {"file": str(CAT), "dim": found.size, "output": str(tmp_path / "out" / "cat.npy")}
    assert found == pytest.approx(expected / np.linalg.norm(expected), abs=CLOSE)


def test_the_command_embeds_standard_input(expected):
    (line,) = lines("embed", "-", stdin=CAT.read_bytes())
    assert line["embedding"] == pytest.approx(expected, abs=CLOSE)


def test_a_bad_image_leaves_its_neighbours_their_embeddings(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    shutil.copy(CAT, tmp_path)
    done = call("embed", tmp_path)
    bad, good = map(json.loads, done.stdout.splitlines())
    assert (done.returncode, set(bad), good["dim"] > 0) == (SOME_FAILED, {"file", "error"}, True)


def test_the_command_refuses_a_segmentation_model():
    assert "it cannot embed" in refused(2, "embed", CAT, "--model", SEGMENTER)


def test_the_command_says_what_it_can_do():
    assert "--normalize" in printed("embed", "--help")
