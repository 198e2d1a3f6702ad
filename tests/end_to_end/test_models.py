"""Own models, under names of the zoo and under other names."""

import hashlib
import io
import os
import shutil
import signal

import httpx
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from service.setting_sources import load
from tests.golden import cases, seeded
from tests.server import Server, wait_until
from twins.zoo import hub
from twins.zoo.models import parse_reference


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    torch.save(cases.read("pipeline-twins_svt_small").state(), folder / "small.pth")
    torch.save({"model": load_file(hub.fetch(parse_reference("twins_svt_nano")))}, folder / "flowers.pth")
    (folder / "flowers.txt").write_text("\n".join(f"flower {i}" for i in range(13)))
    flags = (
        *("--model", f"flowers={folder / 'flowers.pth'}", "--labels", f"flowers={folder / 'flowers.txt'}"),
        *("--model", f"twins_svt_small={folder / 'small.pth'}", "--model", "twins_svt_nano"),
    )
    with Server(*flags, "--max-batch", "2") as server:
        yield server


def test_a_file_under_another_name_has_the_labels_of_the_user(several, cat):
    answer = httpx.post(f"{several.http}/classify", content=cat, params={"top_k": 1}).json()
    assert answer["model"] == "flowers"
    assert answer["predictions"][0]["label"].startswith("flower ")


def test_a_file_under_a_published_name_keeps_its_labels_and_preprocessing(several):
    case = cases.read("pipeline-twins_svt_small")
    given = case.facts["pictures"][0]
    pixels = seeded.image(given["name"], given["height"], given["width"])
    answer = httpx.post(
        f"{several.http}/classify", content=as_png(pixels), params={"model": "twins_svt_small"}, timeout=30
    ).json()
    expected = case.expected["top5-300x400.index"].tolist()
    assert [p["class_id"] for p in answer["predictions"]] == expected
    assert all(p["synset"].startswith("n0") or p["synset"].startswith("n1") for p in answer["predictions"])


def test_all_models_are_listed_in_the_order_given(several):
    names = [entry["name"] for entry in httpx.get(f"{several.http}/models").json()["models"]]
    assert names == ["flowers", "twins_svt_small", "twins_svt_nano"]


def test_an_own_checkpoint_does_not_claim_the_published_accuracy(several):
    card = httpx.get(f"{several.http}/models/flowers").json()
    assert (card["published"], card["measured"], card["variant"]) == (None, None, "svt_nano")


@pytest.fixture(scope="module")
def preprocessed(tmp_path_factory):
    """A service of an own checkpoint with values from the user, from its file and from nowhere."""
    folder = tmp_path_factory.mktemp("preprocessed")
    state = load_file(hub.fetch(parse_reference("twins_svt_nano")))
    save_file(state, folder / "own.safetensors", {"twins.size": "96", "twins.crop": "0.8"})
    flags = ("--model", f"own={folder / 'own.safetensors'}", "--preprocess", "own:crop=0.5,mean=0.5/0.5/0.5")
    with Server(*flags) as server:
        yield server


def test_the_card_says_where_each_preprocessing_value_comes_from(preprocessed):
    card = httpx.get(f"{preprocessed.http}/models/own").json()
    assert (card["geometry"]["crop"], card["geometry"]["short_side"]) == (96, 192)
    assert card["normalisation"] == {"mean": [0.5, 0.5, 0.5], "std": [0.229, 0.224, 0.225]}
    expected = ("checkpoint", "flag", "default", "flag", "default")
    assert tuple(card["sources"][name] for name in ("size", "crop", "interpolation", "mean", "std")) == expected


def test_the_log_says_where_each_preprocessing_value_comes_from(preprocessed):
    (event,) = preprocessed.events("model loaded")
    assert "mean 0.5/0.5/0.5 (flag), std 0.229/0.224/0.225 (default)" in event["preprocessing"]


def test_the_log_warns_of_defaults_in_the_preprocessing(preprocessed, several):
    (event,) = preprocessed.events("preprocessing uses defaults, which may be wrong for this model")
    assert (event["level"], event["model"], event["values"]) == ("warning", "own", ["interpolation", "std"])
    warned = several.events("preprocessing uses defaults, which may be wrong for this model")
    assert [event["model"] for event in warned] == ["flowers"]


def test_settings_from_a_file_and_from_variables_serve_the_same(tmp_path, cat):
    config = tmp_path / "twins.toml"
    config.write_text('models = ["twins_svt_nano"]\nmax_queue = 7\n')
    with Server(environ={"TWINS_CONFIG": str(config), "TWINS_MAX_IMAGES": "1"}) as server:
        assert httpx.post(f"{server.http}/classify", files=[("image", cat)] * 2).status_code == 413
        assert httpx.post(f"{server.http}/classify", content=cat).status_code == 200
    assert load({"config": str(config)}, environ={}).max_queue == 7


def as_png(pixels) -> bytes:

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def test_a_worker_that_restarts_serves_the_same_bytes_or_nothing(tmp_path, cat):
    shipped = hub.fetch(parse_reference("twins_svt_nano"))
    file = tmp_path / "own.safetensors"
    shutil.copy(shipped, file)
    with Server("--model", f"own={file}") as server:
        sha256 = hashlib.sha256(shipped.read_bytes()).hexdigest()
        assert httpx.get(f"{server.http}/models/own").json()["sha256"] == sha256
        assert server.events("model loaded")[0]["sha256"] == sha256
        replacement = tmp_path / "new.safetensors"
        save_file({key: value * 0.5 for key, value in load_file(shipped).items()}, replacement)
        replacement.replace(file)
        os.kill(server.pid("worker-0"), signal.SIGKILL)
        refused = server.wait_for("cannot start", role="worker-0")
        assert "another sha256" in refused["detail"]
        assert server.process.poll() is None
        shutil.copy(shipped, file)  # the service recovers when the old file is back
        wait_until(server.worker_ready, what="ready")
        assert httpx.post(f"{server.http}/classify", content=cat).status_code == 200
