"""One image has the same answer over every protocol, alone or in a batch, by any worker, before and after a restart."""

import base64
import io
import os
import signal
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
import httpx
import numpy as np
import pytest
from PIL import Image, ImageOps
from pycocotools import mask as coco

from service.pb.inference import grpc_service_pb2 as v2
from service.pb.inference import grpc_service_pb2_grpc as v2_grpc
from service.pb.twins.v1 import twins_pb2 as pb
from service.pb.twins.v1 import twins_pb2_grpc as pb_grpc
from tests.server import Server, wait_until
from twins.zoo.models import DEFAULT_MODELS

TASKS = ("classify", "segment", "detect")
CLASSES = 13
OUTPUTS = {
    "classify": ("scores", "class_ids"),
    "segment": ("mask",),
    "detect": ("boxes", "scores", "class_ids", "count", "masks"),
}
TOLERANCES = {"scores": 1e-5, "boxes": 1e-3}  # the rest is identical
FLAGS = ("--device", "cpu,cpu", "--precision", "float32", "--max-batch", "4", "--max-delay-ms", "100")

Values = dict[str, np.ndarray]
"""The answer to one image by name; the scores of a classification are by class."""
Ask = Callable[[Server, str, list[bytes]], list[Values]]


def classified(class_ids: list[int], scores: list[float]) -> Values:
    """Return the scores by class."""
    return {"scores": np.array(scores)[np.argsort(class_ids)]}


def segmented(size: tuple[int, int], runs: dict[int, str]) -> Values:
    """Return the mask, from the run lengths of each class."""
    mask = np.full(size, 255)
    for class_id, counts in runs.items():
        mask[coco.decode({"size": size, "counts": counts}).astype(bool)] = class_id
    return {"mask": mask}


def detected(boxes: list, scores: list[float], class_ids: list[int], masks: list[str]) -> Values:
    """Return what is known of each object."""
    values = {"boxes": np.reshape(boxes, (-1, 4)), "scores": scores, "class_ids": class_ids, "masks": masks}
    return {name: np.array(value) for name, value in values.items()}


def over_rest(server: Server, task: str, images: list[bytes]) -> list[Values]:
    """Ask for all images in one request."""
    options = {"top_k": str(CLASSES)} if task == "classify" else {}
    files = [("image", image) for image in images]
    found = httpx.post(f"{server.http}/{task}", files=files, data=options, timeout=60).raise_for_status().json()
    return [REST[task](each) for each in (found if isinstance(found, list) else [found])]


REST: dict[str, Callable[[dict], Values]] = {
    "classify": lambda found: classified(
        [each["class_id"] for each in found["predictions"]], [each["score"] for each in found["predictions"]]
    ),
    "segment": lambda found: segmented(
        (found["size"]["height"], found["size"]["width"]),
        {each["class_id"]: each["rle"]["counts"] for each in found["classes"]},
    ),
    "detect": lambda found: detected(
        [each["box"] for each in found["detections"]],
        [each["score"] for each in found["detections"]],
        [each["class_id"] for each in found["detections"]],
        [each["rle"]["counts"] for each in found["detections"]],
    ),
}


def over_grpc(server: Server, task: str, images: list[bytes]) -> list[Values]:
    """Ask for all images at once, a call for each."""
    with grpc.insecure_channel(server.grpc) as channel, ThreadPoolExecutor(len(images)) as threads:
        stub = pb_grpc.TwinsStub(channel)
        return list(threads.map(lambda image: RPC[task](stub, image), images))


def classify(stub: pb_grpc.TwinsStub, image: bytes) -> Values:
    found = stub.Classify(pb.ClassifyRequest(image=image, top_k=CLASSES), timeout=60).predictions
    return classified([each.class_id for each in found], [each.score for each in found])


def segment(stub: pb_grpc.TwinsStub, image: bytes) -> Values:
    found = stub.Segment(pb.SegmentRequest(image=image, format=pb.MASK_FORMAT_RLE), timeout=60)
    return segmented((found.height, found.width), {each.class_id: each.rle for each in found.classes})


def detect(stub: pb_grpc.TwinsStub, image: bytes) -> Values:
    found = stub.Detect(pb.DetectRequest(image=image), timeout=60).detections
    return detected(
        [(each.box.left, each.box.top, each.box.right, each.box.bottom) for each in found],
        [each.score for each in found],
        [each.class_id for each in found],
        [each.rle for each in found],
    )


RPC = {"classify": classify, "segment": segment, "detect": detect}


def over_v2(server: Server, task: str, images: list[bytes]) -> list[Values]:
    """Ask for all images in one request of the Open Inference Protocol."""
    data = [base64.b64encode(image).decode() for image in images]
    request = {
        "inputs": [{"name": "image", "shape": [len(images)], "datatype": "BYTES", "data": data}],
        "outputs": [{"name": name} for name in OUTPUTS[task]],
        "parameters": {"top_k": CLASSES} if task == "classify" else {},
    }
    url = f"{server.http}/v2/models/{DEFAULT_MODELS[task]}/infer"
    answer = httpx.post(url, json=request, timeout=60).raise_for_status().json()
    return rows(task, {each["name"]: np.reshape(each["data"], each["shape"]) for each in answer["outputs"]})


def over_v2_grpc(server: Server, task: str, images: list[bytes]) -> list[Values]:
    """Ask for all images in one call of the Open Inference Protocol."""
    request = v2.ModelInferRequest(model_name=DEFAULT_MODELS[task])
    tensor = request.inputs.add(name="image", datatype="BYTES", shape=[len(images)])
    tensor.contents.bytes_contents.extend(images)
    for name in OUTPUTS[task]:
        request.outputs.add(name=name)
    if task == "classify":
        request.parameters["top_k"].int64_param = CLASSES
    with grpc.insecure_channel(server.grpc) as channel:
        answer = v2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=60)
    values = zip(answer.outputs, answer.raw_output_contents, strict=True)
    return rows(task, {each.name: from_raw(each, data) for each, data in values})


def from_raw(tensor: v2.ModelInferResponse.InferOutputTensor, data: bytes) -> np.ndarray:
    """Return the values of a tensor."""
    if tensor.datatype != "BYTES":
        kind = {"FP32": "<f4", "INT64": "<i8", "INT32": "<i4", "UINT8": "u1"}[tensor.datatype]
        return np.frombuffer(data, kind).reshape(tensor.shape)
    texts, offset = [], 0
    while offset < len(data):
        (length,) = struct.unpack_from("<I", data, offset)
        texts.append(data[offset + 4 : offset + 4 + length].decode())
        offset += 4 + length
    return np.reshape(texts, tensor.shape)


def rows(task: str, outputs: dict[str, np.ndarray]) -> list[Values]:
    """Return the answer to each image of a batch."""
    count = len(outputs[OUTPUTS[task][0]])
    answers = [{name: outputs[name][index] for name in OUTPUTS[task]} for index in range(count)]
    if task == "classify":
        return [classified(each["class_ids"], each["scores"]) for each in answers]
    if task == "detect":
        return [{name: each[name][: each["count"]] for name in each if name != "count"} for each in answers]
    return answers


WAYS: dict[str, Ask] = {"REST": over_rest, "gRPC": over_grpc, "V2": over_v2, "V2 over gRPC": over_v2_grpc}


@pytest.fixture(scope="module")
def server():
    with Server(*FLAGS) as running:
        running.wait_for("worker ready", count=2)
        yield running


@pytest.fixture(scope="module")
def images(cat) -> list[bytes]:
    """Return four images of one size, so that they share batches."""
    original = Image.open(io.BytesIO(cat)).convert("RGB")
    return [
        encoded(each)
        for each in (original, ImageOps.mirror(original), ImageOps.flip(original), ImageOps.invert(original))
    ]


def encoded(image: Image.Image) -> bytes:
    """Return the image as a file without loss."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def alone(server, images) -> dict[str, Values]:
    """Return the answers to the first image alone over REST, with which all others are compared."""
    found = {task: over_rest(server, task, images[:1])[0] for task in TASKS}
    assert found["classify"]["scores"].shape == (CLASSES,)
    assert len(found["detect"]["boxes"]) > 0
    return found


def check_same(expected: Values, found: Values) -> None:
    """Check that two answers are the same."""
    assert expected.keys() == found.keys()
    for name, values in expected.items():
        if name in TOLERANCES:
            np.testing.assert_allclose(found[name].astype(float), values, rtol=0, atol=TOLERANCES[name], err_msg=name)
        else:
            assert np.array_equal(found[name], values), name


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("way", WAYS)
def test_over_every_protocol_an_image_has_the_same_answer_alone_and_in_a_batch(server, images, alone, way, task):
    for others in ([], images[1:]):
        check_same(alone[task], WAYS[way](server, task, [images[0], *others])[0])


def test_batches_were_formed(server, images, alone):
    assert server.metric("twins_batch_size_sum") > server.metric("twins_batch_size_count")


def test_each_worker_gives_the_same_answer_also_after_a_restart(server, images, alone):
    ready = len(server.events("worker ready"))
    for worker in ("worker-0", "worker-1"):
        server.wait_for("worker ready", count=ready)
        wait_until(lambda: server.metric("twins_worker_up") == 2, what="both workers")
        os.kill(server.pid(worker), signal.SIGKILL)
        for task in TASKS:  # by the other worker, which has been restarted itself the second time
            check_same(alone[task], over_rest(server, task, images)[0])
        ready += 1
