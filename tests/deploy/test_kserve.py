"""The service, started as KServe's runtime starts it, answers the Open Inference Protocol for a folder of models."""

import shutil

import grpc
import httpx
import pytest

from service.pb.inference import grpc_service_pb2 as pb
from service.pb.inference import grpc_service_pb2_grpc as pb_grpc
from tests.deploy.manifests import read, variables
from tests.server import Server
from tools.chart import DEPLOY
from twins.zoo import hub
from twins.zoo.models import ModelReference

RUNTIME = read(DEPLOY / "kserve" / "servingruntime.yaml")["spec"]
(CONTAINER,) = RUNTIME["containers"]
MOUNTED = "/mnt/models"
PORTS = {"--http-port=8080": "--http-port=0", "--grpc-port=9000": "--grpc-port=0"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Start the container's command on a folder as the storage initializer leaves it: no one may write to it."""
    folder = tmp_path_factory.mktemp("models")
    for version in ("1", "2"):
        (folder / "animals" / version).mkdir(parents=True)
        shutil.copy(hub.fetch(ModelReference("twins_svt_nano")), folder / "animals" / version / "model.safetensors")
    verb, *flags = CONTAINER["args"]
    assert verb == "serve"
    given = [PORTS.get(flag, flag.replace(MOUNTED, str(folder))) for flag in flags]
    assert f"--model-repository={folder}" in given
    environ = {name: value for name, value in variables(CONTAINER).items() if name != "TWINS_DRAIN_DELAY_S"}
    folder.chmod(0o555)
    with Server(*given, environ=environ) as running:
        yield running


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_the_probes_of_the_runtime_succeed(server, probe):
    asked = CONTAINER[probe]["httpGet"]
    assert httpx.get(f"{server.http}{asked['path']}").status_code == 200
    assert f"--http-port={asked['port']}" in CONTAINER["args"]


def test_the_models_of_the_folder_answer_over_http(server, cat):
    url = f"{server.http}/v2/models/animals"
    assert httpx.get(f"{url}/ready").status_code == 200
    assert httpx.get(url).json()["versions"] == ["2"]
    answer = httpx.post(f"{url}/infer", content=cat, headers={"Inference-Header-Content-Length": "0"}, timeout=60)
    assert answer.status_code == 200
    assert b'"model_name":"animals"' in answer.content.replace(b" ", b"")


def test_the_models_of_the_folder_answer_over_grpc(server, cat):
    with grpc.insecure_channel(server.grpc) as channel:
        stub = pb_grpc.GRPCInferenceServiceStub(channel)
        assert stub.ServerReady(pb.ServerReadyRequest()).ready
        request = pb.ModelInferRequest(model_name="animals")
        tensor = request.inputs.add(name="image", datatype="BYTES", shape=[1])
        tensor.contents.bytes_contents.append(cat)
        answer = stub.ModelInfer(request, timeout=60)
    assert {each.name for each in answer.outputs} == {"scores", "class_ids", "labels"}


def test_the_metrics_are_where_the_annotations_say(server):
    found = RUNTIME["annotations"]
    assert f"--http-port={found['prometheus.kserve.io/port']}" in CONTAINER["args"]
    text = httpx.get(f"{server.http}{found['prometheus.kserve.io/path']}").text
    assert "twins_in_flight_images" in text
    assert "nv_inference_request_success" in text
