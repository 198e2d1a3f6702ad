"""The calls of Triton's perf_analyzer in their order, over HTTP and gRPC.

perf_analyzer asks what the server and the model are, sends binary tensors from several connections, requests every
output that the model's description lists, and computes its figures from the statistics before and after.
"""

import json
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
import httpx
import pytest
from google.protobuf.json_format import MessageToDict

from service.pb.inference import grpc_service_pb2 as pb
from service.pb.inference import grpc_service_pb2_grpc as pb_grpc
from tests.server import Server, wait_until

MODELS = {"twins_svt_nano": 2, "twins_svt_nano_fpn": 1, "twins_svt_nano_maskrcnn": 1}
"""How often each model runs for an image if all its outputs are requested: the features take a run of their own."""
EXTENSIONS = {"binary_tensor_data", "model_configuration", "statistics"}
CONCURRENCY, REQUESTS = 4, 8
TIMES = ("success", "queue", "compute_input", "compute_infer", "compute_output")
LENGTH_HEADER = "Inference-Header-Content-Length"


class OverHttp:
    """The calls over HTTP."""

    def __init__(self, server: Server, model: str) -> None:
        self.model = model
        self.client = httpx.Client(base_url=server.http, timeout=60)

    def close(self) -> None:
        self.client.close()

    def get(self, path: str) -> dict:
        """Return the answer to GET, as JSON."""
        response = self.client.get(path)
        assert response.status_code == 200, response.text
        return response.json()

    def server(self) -> dict:
        return self.get("/v2")

    def ready(self) -> list[bool]:
        paths = ("/v2/health/live", "/v2/health/ready", f"/v2/models/{self.model}/ready")
        return [self.client.get(path).status_code == 200 for path in paths]

    def metadata(self) -> dict:
        return self.get(f"/v2/models/{self.model}")

    def configuration(self) -> dict:
        return self.get(f"/v2/models/{self.model}/config")

    def statistics(self) -> dict:
        (found,) = self.get(f"/v2/models/{self.model}/stats")["model_stats"]
        return found

    def infer(self, image: bytes, outputs: list[str], number: int) -> tuple[str, dict[str, bytes]]:
        """Send an image as a binary tensor. Return the id of the answer, and its tensors."""
        tensor = struct.pack("<I", len(image)) + image
        head = {
            "id": str(number),
            "inputs": [
                {
                    "name": "image",
                    "shape": [1, 1],
                    "datatype": "BYTES",
                    "parameters": {"binary_data_size": len(tensor)},
                }
            ],
            "outputs": [{"name": name, "parameters": {"binary_data": True}} for name in outputs],
        }
        text = json.dumps(head).encode()
        headers = {LENGTH_HEADER: str(len(text)), "Content-Type": "application/octet-stream"}
        response = self.client.post(f"/v2/models/{self.model}/infer", content=text + tensor, headers=headers)
        assert response.status_code == 200, response.text
        return self.parse(response)

    def parse(self, response: httpx.Response) -> tuple[str, dict[str, bytes]]:
        """Return the id of an answer, and its tensors, which follow its JSON."""
        length = int(response.headers[LENGTH_HEADER])
        found, rest = json.loads(response.content[:length]), response.content[length:]
        tensors = {}
        for output in found["outputs"]:
            size = output["parameters"]["binary_data_size"]
            tensors[output["name"]], rest = rest[:size], rest[size:]
        assert not rest
        return found["id"], tensors


class OverGrpc:
    """The calls over gRPC."""

    def __init__(self, server: Server, model: str) -> None:
        self.model = model
        self.channel = grpc.insecure_channel(server.grpc)
        self.stub = pb_grpc.GRPCInferenceServiceStub(self.channel)

    def close(self) -> None:
        self.channel.close()

    def server(self) -> dict:
        return as_dict(self.stub.ServerMetadata(pb.ServerMetadataRequest()))

    def ready(self) -> list[bool]:
        return [
            self.stub.ServerLive(pb.ServerLiveRequest()).live,
            self.stub.ServerReady(pb.ServerReadyRequest()).ready,
            self.stub.ModelReady(pb.ModelReadyRequest(name=self.model)).ready,
        ]

    def metadata(self) -> dict:
        return as_dict(self.stub.ModelMetadata(pb.ModelMetadataRequest(name=self.model)))

    def configuration(self) -> dict:
        return as_dict(self.stub.ModelConfig(pb.ModelConfigRequest(name=self.model)).config)

    def statistics(self) -> dict:
        (found,) = self.stub.ModelStatistics(pb.ModelStatisticsRequest(name=self.model)).model_stats
        return as_dict(found)

    def infer(self, image: bytes, outputs: list[str], number: int) -> tuple[str, dict[str, bytes]]:
        """Send an image as a binary tensor. Return the id of the answer, and its tensors."""
        tensor = pb.ModelInferRequest.InferInputTensor(name="image", shape=[1, 1], datatype="BYTES")
        wanted = [pb.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in outputs]
        request = pb.ModelInferRequest(
            model_name=self.model,
            id=str(number),
            inputs=[tensor],
            outputs=wanted,
            raw_input_contents=[struct.pack("<I", len(image)) + image],
        )
        answer = self.stub.ModelInfer(request, timeout=60)
        names = [output.name for output in answer.outputs]
        return answer.id, dict(zip(names, answer.raw_output_contents, strict=True))


PROTOCOLS: dict[str, Callable] = {"http": OverHttp, "grpc": OverGrpc}


def as_dict(message) -> dict:
    """Return a message as a dictionary with the names of its source."""
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


@pytest.fixture(params=MODELS)
def model(request) -> str:
    return request.param


@pytest.fixture(params=PROTOCOLS)
def calls(request, server, model):
    made = PROTOCOLS[request.param](server, model)
    yield made
    made.close()


def counts(statistics: dict) -> dict[str, int]:
    """Return the counters that perf_analyzer subtracts. JSON of protobuf has 64 bits as a text."""
    times = statistics["inference_stats"]
    return {
        "inference": int(statistics["inference_count"]),
        "execution": int(statistics["execution_count"]),
        **{f"{name}.{part}": int(times[name].get(part, 0)) for name in TIMES for part in ("count", "ns")},
    }


def test_the_calls_of_perf_analyzer_find_what_they_need(calls, cat):
    assert set(calls.server()["extensions"]) >= EXTENSIONS
    assert calls.ready() == [True, True, True]
    outputs = described_alike(calls)
    before = counts(calls.statistics())
    with ThreadPoolExecutor(CONCURRENCY) as threads:
        answers = list(threads.map(lambda number: calls.infer(cat, outputs, number), range(REQUESTS)))
    check_answers(answers, outputs)
    check_counts(calls, before)


def described_alike(calls) -> list[str]:
    """Check that metadata and configuration describe the same tensors. Return the names of outputs to request."""
    metadata, configuration = calls.metadata(), calls.configuration()
    assert configuration["max_batch_size"] > 1
    for kind in ("input", "output"):
        declared = {each["name"]: list(map(int, each["shape"]))[1:] for each in metadata[f"{kind}s"]}
        assert declared == {each["name"]: list(map(int, each["dims"])) for each in configuration[kind]}
    assert [each["name"] for each in configuration["input"] if not each.get("optional")] == ["image"]
    return [each["name"] for each in metadata["outputs"]]


def check_answers(answers: list[tuple[str, dict[str, bytes]]], outputs: list[str]) -> None:
    """Check that each request has its own answer, which has the outputs that it requested."""
    assert [found for found, _ in answers] == [str(number) for number in range(REQUESTS)]
    for _, tensors in answers:
        assert list(tensors) == outputs
        assert all(tensors.values())
        assert not strings(tensors["errors"]) - {b""}


def strings(tensor: bytes) -> set[bytes]:
    """Return the elements of a tensor of BYTES, each of which follows its length."""
    found = set()
    while tensor:
        end = 4 + struct.unpack_from("<I", tensor)[0]
        found.add(tensor[4:end])
        tensor = tensor[end:]
    return found


def check_counts(calls, before: dict[str, int]) -> None:
    """Check that the statistics have counted the requests and their times."""
    after = wait_until(lambda: counted(calls, before), what="the count of all requests")
    grown = {name: after[name] - before[name] for name in after}
    runs = MODELS[calls.model] * REQUESTS
    assert grown["success.count"] == REQUESTS
    assert grown["inference"] == runs
    assert 1 <= grown["execution"] <= runs
    assert all(grown[f"{name}.ns"] > 0 for name in TIMES)
    assert all(grown[f"{name}.count"] == runs for name in TIMES if name != "success")


def counted(calls, before: dict[str, int]) -> dict[str, int] | None:
    """Return the counters when they have all requests."""
    after = counts(calls.statistics())
    return after if after["success.count"] - before["success.count"] >= REQUESTS else None
