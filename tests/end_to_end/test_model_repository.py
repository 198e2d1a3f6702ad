"""A model repository: versions are loaded, replaced, chosen and unloaded while requests run, and none is lost."""

import asyncio
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import grpc
import httpx
import pytest

from service.pb.inference import grpc_service_pb2 as pb
from service.pb.inference import grpc_service_pb2_grpc as pb_grpc
from tests.server import Server, wait_until
from tools.documents import ROOT
from twins.zoo import hub
from twins.zoo.models import ModelReference

CLIENTS = 8


def add_version(folder: Path, version: str, *, model: str = "pets", weights: str = "twins_svt_nano") -> Path:
    """Put a version into a repository, complete at once."""
    made = folder / model / f".{version}"
    made.mkdir(parents=True)
    shutil.copy(hub.fetch(ModelReference(weights)), made / "checkpoint.safetensors")
    return made.rename(folder / model / version)


@pytest.fixture
def folder(tmp_path):
    """Return a repository with one version of one model."""
    add_version(tmp_path / "models", "1")
    return tmp_path / "models"


@pytest.fixture
def server(folder):
    """Start a service on the repository, with two frontends and two workers."""
    flags = ("--model-repository", str(folder), "--allow-model-control", "--frontends", "2", "--device", "cpu,cpu")
    with Server(*flags) as running:
        yield running


def index(server: Server) -> dict[tuple[str, str], str]:
    """Return the state of each version."""
    found = httpx.post(f"{server.http}/v2/repository/index", timeout=60).json()
    return {(each["name"], each["version"]): each["state"] for each in found}


def load(server: Server, model: str = "pets", **parameters: object) -> httpx.Response:
    """Load a model."""
    body = {"parameters": parameters}
    return httpx.post(f"{server.http}/v2/repository/models/{model}/load", json=body, timeout=120)


def unload(server: Server, model: str = "pets", **parameters: object) -> httpx.Response:
    """Unload a model."""
    body = {"parameters": parameters}
    return httpx.post(f"{server.http}/v2/repository/models/{model}/unload", json=body, timeout=120)


def answering(server: Server, cat: bytes, model: str = "pets") -> str:
    """Return the key of the version that answers."""
    return httpx.post(f"{server.http}/classify", params={"model": model}, content=cat, timeout=60).json()["model"]


async def ask_until(done: asyncio.Event, base: str, image: bytes, found: Counter) -> None:
    """Ask the model without a version until the event, and count the statuses and the versions that answer."""
    async with httpx.AsyncClient(base_url=base, timeout=60) as client:
        while not done.is_set():
            response = await client.post("/classify", params={"model": "pets"}, content=image)
            found[response.status_code, response.json().get("model")] += 1


async def test_a_new_version_goes_live_under_load_and_the_old_one_drains_without_a_lost_request(server, folder, cat):
    assert index(server) == {("pets", "1"): "READY"}
    done, found = asyncio.Event(), Counter()
    clients = [asyncio.create_task(ask_until(done, server.http, cat, found)) for _ in range(CLIENTS)]
    await asyncio.sleep(1)
    add_version(folder, "2")
    assert (await asyncio.to_thread(load, server)).status_code == 200
    states = {("pets", "1"): "UNAVAILABLE", ("pets", "2"): "READY"}
    await asyncio.to_thread(wait_until, lambda: index(server) == states, what="the old version is unloaded")
    await asyncio.sleep(1)
    done.set()
    await asyncio.gather(*clients)
    assert {status for status, _ in found} == {200}
    assert {model for _, model in found} == {"pets", "pets@2"}


def test_versions_are_served_side_by_side_and_the_default_is_chosen(server, folder, cat):
    add_version(folder, "2")
    assert load(server, version="2").status_code == 200
    assert index(server) == {("pets", "1"): "READY", ("pets", "2"): "READY"}
    assert answering(server, cat) == "pets@2"
    assert answering(server, cat, "pets@1") == "pets"
    assert load(server, version="1", default=True).status_code == 200
    assert answering(server, cat) == "pets"
    metadata = httpx.get(f"{server.http}/v2/models/pets/versions/2").json()
    assert metadata["versions"] == ["1", "2"]
    assert unload(server, version="1").status_code == 200
    assert answering(server, cat) == "pets@2"


def test_an_unloaded_model_is_unknown_until_it_is_loaded_again(server, cat):
    assert unload(server).status_code == 200
    wait_until(lambda: index(server) == {("pets", "1"): "UNAVAILABLE"}, what="the model is unloaded")
    assert httpx.post(f"{server.http}/classify?model=pets", content=cat).status_code in {404, 503}
    assert load(server).status_code == 200
    assert answering(server, cat) == "pets"


def test_a_version_that_cannot_be_loaded_says_why_and_harms_nothing(server, folder, cat):
    broken = folder / "pets" / "2"
    broken.mkdir()
    (broken / "checkpoint.pth").write_bytes(b"<!doctype html>")
    refused = load(server)
    assert refused.status_code == 400
    assert "HTML page" in refused.json()["error"]
    assert answering(server, cat) == "pets"
    wait_until(lambda: index(server)["pets", "2"] == "UNAVAILABLE", what="the version is withdrawn")
    found = httpx.post(f"{server.http}/v2/repository/index").json()
    assert "HTML page" in next(each["reason"] for each in found if each["version"] == "2")


@pytest.mark.parametrize(
    ("model", "parameters", "status"),
    [
        ("none", {}, 404),
        ("pets", {"version": "7"}, 404),
        ("pets", {"version": 1}, 400),
        ("pets", {"config": "{}"}, 400),
        ("pets", {"default": True}, 400),
        ("..", {}, 404),
    ],
)
def test_an_order_that_names_nothing_is_refused(server, model, parameters, status):
    response = load(server, model.replace("..", "%2e%2e"), **parameters)
    assert (response.status_code, set(response.json())) == (status, {"error", "code", "request_id"})


def test_the_same_over_grpc(server, folder):
    add_version(folder, "2")
    with grpc.insecure_channel(server.grpc) as channel:
        stub = pb_grpc.GRPCInferenceServiceStub(channel)
        version = {"version": pb.ModelRepositoryParameter(string_param="2")}
        stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="pets", parameters=version))
        found = stub.RepositoryIndex(pb.RepositoryIndexRequest(ready=True)).models
        assert [(each.name, each.version) for each in found] == [("pets", "1"), ("pets", "2")]
        stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="pets", parameters=version))
        assert not stub.ModelReady(pb.ModelReadyRequest(name="pets", version="2")).ready
        with pytest.raises(grpc.RpcError) as refused:
            stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="none"))
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND


def test_without_the_setting_nobody_may_load_or_unload(folder, cat):
    with Server("--model-repository", str(folder)) as server:
        assert load(server).status_code == unload(server).status_code == 403
        assert load(server).json()["code"] == "forbidden"
        assert index(server) == {("pets", "1"): "READY"}
        assert answering(server, cat) == "pets"


def test_polling_serves_new_versions_and_models_and_withdraws_removed_ones(folder, cat):
    with Server("--model-repository", str(folder), "--model-poll-s", "0.2") as server:
        add_version(folder, "2")
        states = {("pets", "1"): "UNAVAILABLE", ("pets", "2"): "READY"}
        wait_until(lambda: index(server) == states, what="the new version replaces the old one")
        assert answering(server, cat) == "pets@2"
        add_version(folder, "1", model="masks", weights="twins_svt_nano_fpn")
        wait_until(lambda: index(server).get(("masks", "1")) == "READY", what="the new model is served")
        shutil.rmtree(folder / "pets")
        wait_until(lambda: index(server) == {("masks", "1"): "READY"}, what="the removed model is withdrawn")


def test_each_model_has_its_own_settings_and_labels(folder, cat):
    (folder / "pets" / "model.toml").write_text(
        'versions = 2\nmax_batch = 2\nmax_delay_ms = 1.5\nbackend = "torch"\nprecision = "float32"\n'
        "[preprocessing]\nsize = 96\ncrop = 1.0\n"
    )
    labels = [f"class {number}" for number in range(13)]
    second = add_version(folder, "2")
    (second / "labels.txt").write_text("\n".join(labels))
    with Server("--model-repository", str(folder), "--model", "twins_svt_nano") as server:
        assert index(server) == dict.fromkeys((("twins_svt_nano", "1"), ("pets", "1"), ("pets", "2")), "READY")
        first, newest = (httpx.get(f"{server.http}/models/pets@{version}").json() for version in "12")
        assert (first["backend"], newest["geometry"]["crop"]) == ("torch", 96)
        assert httpx.get(f"{server.http}/models/twins_svt_nano").json()["geometry"]["crop"] == 112
        assert [label["name"] for label in newest["labels"]] == labels
        assert [label["name"] for label in first["labels"]] != labels
        assert answering(server, cat) == "pets@2"
        (loaded,) = server.events("model loaded", model="pets@2")
        assert loaded["precision"] == "float"


def repository(server: Server, *arguments: str) -> subprocess.CompletedProcess:
    """Run `twins repository`."""
    command = [sys.executable, "-m", "service.cli", "repository", "--url", server.http, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_an_operator_loads_chooses_and_unloads_versions_from_the_shell(server, folder, cat):
    add_version(folder, "2")
    assert repository(server, "load", "pets", "--version", "2").returncode == 0
    assert repository(server, "default", "pets", "1").returncode == 0
    assert answering(server, cat) == "pets"
    assert repository(server, "unload", "pets", "--version", "1").returncode == 0
    lines = [line.split() for line in repository(server, "index", "--ready").stdout.splitlines()]
    assert lines == [["model", "version", "state", "reason"], ["pets", "2", "READY"]]


def test_the_commands_of_the_document_do_what_it_says(server, folder):
    add_version(folder, "2")
    lines = (ROOT / "docs" / "model-repository.md").read_text().splitlines()
    commands = [line.partition("  #")[0] for line in lines if line.startswith(("twins repository", "curl"))]
    assert len(commands) == 9
    for command in commands:
        program, *arguments = shlex.split(command.replace("localhost:8000", server.http))
        if program == "twins":
            assert repository(server, *arguments[1:]).returncode == 0, command
        else:
            subprocess.run([program, "--fail", "--silent", *arguments], check=True, timeout=120, capture_output=True)


def test_an_operator_sees_why_an_order_fails(server):
    done = repository(server, "load", "none")
    assert (done.returncode, done.stderr) == (2, "Error: no model 'none' is in the repository\n")
