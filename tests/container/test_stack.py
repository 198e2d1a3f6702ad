"""The running Compose files for a CPU: both protocols through published ports, and the limits of the containers."""

from pathlib import Path

import grpc
import httpx
import pytest

from service.pb.twins.v1 import twins_pb2 as pb
from service.pb.twins.v1 import twins_pb2_grpc as pb_grpc
from service.setting_sources import load
from tests.container.conftest import DETECTOR, OWN
from tests.container.stack import NOFILE, Stack
from tests.server import wait_until
from tools.documents import ROOT
from twins.tasks import TASKS

pytestmark = [pytest.mark.container, pytest.mark.timeout(900)]

CAT = (ROOT / "examples" / "cat.jpg").read_bytes()
HEIGHT, WIDTH = 300, 451  # of that image
STACKS = ("stack", "own_stack")

PRIVILEGES = """
from pathlib import Path
facts = dict(line.split(":", 1) for line in Path("/proc/1/status").read_text().splitlines())
print(*(facts[name].split()[0] for name in ("Uid", "NoNewPrivs", "CapEff", "CapBnd")))
"""
WRITE = """
from pathlib import Path
for folder in ("/", "/opt/twins", "/checkpoints", "/weights", "/tmp", "/dev/shm"):
    try:
        (Path(folder) / "probe").write_text("")
        print(folder)
    except OSError:
        continue
    (Path(folder) / "probe").unlink()
"""


@pytest.fixture(params=STACKS)
def any_stack(request):
    """Return each of the stacks."""
    return request.getfixturevalue(request.param)


def test_it_serves_the_models_that_ship_by_default(stack):
    assert tuple(stack.models()) == load({}, environ={}).models


def test_it_serves_the_named_models(own_stack):
    assert own_stack.models() == {"twins_svt_nano": "classify", OWN: "segment", DETECTOR: "detect"}


def test_every_container_is_healthy(any_stack):
    for service in ("twins", "prometheus"):
        assert any_stack.facts(service)["State"]["Health"]["Status"] == "healthy"


def rest_classes(stack: Stack, model: str) -> None:
    """Return the classes, best first."""
    answer = post(stack, "classify", model)
    scores = [each["score"] for each in answer["predictions"]]
    assert scores == sorted(scores, reverse=True)
    if model == "twins_svt_nano":
        assert answer["predictions"][0]["label"] == "cat"


def rest_mask(stack: Stack, model: str) -> None:
    """Check a mask of the size of the image, whose classes cover it."""
    answer = post(stack, "segment", model)
    assert answer["size"] == {"height": HEIGHT, "width": WIDTH}
    assert sum(each["pixels"] for each in answer["classes"]) == HEIGHT * WIDTH


def rest_objects(stack: Stack, model: str) -> None:
    """Check that there are objects, in an answer of the size of the image."""
    answer = post(stack, "detect", model)
    assert answer["size"] == {"height": HEIGHT, "width": WIDTH}
    assert answer["detections"]


def post(stack: Stack, task: str, model: str) -> dict:
    """Return an answer over HTTP."""
    answer = httpx.post(f"{stack.http}/{task}", params={"model": model}, content=CAT, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"] == model
    return answer.json()


def grpc_classes(stack: Stack, model: str) -> None:
    """Return the same classes over gRPC."""
    with grpc.insecure_channel(stack.grpc) as channel:
        asked = pb.ClassifyRequest(image=CAT, model=model)
        answer = pb_grpc.TwinsStub(channel).Classify(asked, timeout=60)
    over_http = post(stack, "classify", model)["predictions"]
    assert [each.label for each in answer.predictions] == [each["label"] for each in over_http]


def grpc_mask(stack: Stack, model: str) -> None:
    """Check a mask of the size of the image over gRPC."""
    with grpc.insecure_channel(stack.grpc) as channel:
        asked = pb.SegmentRequest(image=CAT, model=model, format=pb.MASK_FORMAT_PNG)
        answer = pb_grpc.TwinsStub(channel).Segment(asked, timeout=60)
    assert (answer.model, answer.height, answer.width) == (model, HEIGHT, WIDTH)
    assert answer.mask.startswith(b"\x89PNG")


def grpc_objects(stack: Stack, model: str) -> None:
    """Check that there are the same objects over gRPC."""
    with grpc.insecure_channel(stack.grpc) as channel:
        asked = pb.DetectRequest(image=CAT, model=model)
        answer = pb_grpc.TwinsStub(channel).Detect(asked, timeout=60)
    over_http = post(stack, "detect", model)["detections"]
    assert [each.label for each in answer.detections] == [each["label"] for each in over_http]


REST = {"classify": rest_classes, "segment": rest_mask, "detect": rest_objects}
GRPC = {"classify": grpc_classes, "segment": grpc_mask, "detect": grpc_objects}


def test_every_model_answers_over_rest(any_stack):
    for model, task in any_stack.models().items():
        REST[task](any_stack, model)


def test_every_model_answers_over_grpc(any_stack):
    for model, task in any_stack.models().items():
        GRPC[task](any_stack, model)


def test_every_kind_of_model_of_the_service_is_tested(stack, own_stack):
    served = {*stack.models().values(), *own_stack.models().values()}
    assert served == {task.model_task for task in TASKS.values()} == set(REST) == set(GRPC)


def test_prometheus_counts_the_requests_of_every_model(any_stack):
    for model, task in any_stack.models().items():
        before = {protocol: any_stack.counted(model, protocol) for protocol in ("http", "grpc")}
        REST[task](any_stack, model)
        GRPC[task](any_stack, model)
        for protocol, count in before.items():
            wait_until(lambda: any_stack.counted(model, protocol) > count, what=f"{model} over {protocol}")  # noqa: B023


def test_the_service_has_no_privileges_and_cannot_gain_any(any_stack):
    assert any_stack.python(PRIVILEGES).split() == ["10001", "1", "0" * 16, "0" * 16]


def test_it_writes_only_to_the_weights_volume_and_to_memory(any_stack):
    assert any_stack.python(WRITE).split() == ["/weights", "/tmp", "/dev/shm"]


def test_it_keeps_nothing_in_shared_memory(own_stack):
    assert own_stack.python("import os; print(os.listdir('/dev/shm'))").strip() == "[]"


def test_its_resources_are_limited(stack):
    host = stack.facts()["HostConfig"]
    assert (host["Memory"], host["PidsLimit"], host["ShmSize"]) == (16 * 2**30, 2048, 64 * 2**20)
    assert {limit["Name"]: limit["Soft"] for limit in host["Ulimits"]} == {"nofile": NOFILE, "core": 0}
    assert host["RestartPolicy"]["Name"] == "unless-stopped"


def test_ports_are_published_only_on_the_loopback_interface(stack):
    published = [
        port["HostIp"]
        for service in ("twins", "prometheus")
        for ports in stack.facts(service)["NetworkSettings"]["Ports"].values()
        for port in ports or ()
    ]
    assert len(published) == 3
    assert set(published) == {"127.0.0.1"}


def test_downloaded_weights_outlive_the_container(stack):
    mounts = {mount["Destination"]: mount for mount in stack.facts()["Mounts"]}
    assert mounts["/weights"]["Type"] == "volume"
    assert mounts["/weights"]["Name"] == f"{stack.name}_weights"
    assert stack.python("from huggingface_hub import constants; print(constants.HF_HOME)").strip() == "/weights"
    assert Path(mounts["/checkpoints"]["Source"]).is_relative_to(ROOT)
