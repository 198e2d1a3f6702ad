"""The detections of mmdetection through the whole service and the command line."""

import json
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
from click.testing import CliRunner
from pycocotools import mask as coco

from service.cli.main import twins
from service.pb.twins.v1 import twins_pb2 as pb
from service.pb.twins.v1 import twins_pb2_grpc as pb_grpc
from tests import detection
from tests.golden import cases
from tests.server import Server

NAMES = cases.named("mmdet")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """Return the checkpoint of every case."""
    folder = tmp_path_factory.mktemp("golden")
    return {name: detection.golden(cases.read(name), folder) for name in NAMES}


def check(case: cases.Case, objects: list[dict]) -> None:
    """Compare objects with the reference. Each has `box`, `score`, `class_id` and perhaps the `counts` of its mask."""
    (size,) = case.images()
    height, width = map(int, size.split("x"))
    expected = {key: case.expected[f"{key}-{size}"] for key in ("boxes", "scores", "labels")}
    found = {
        "boxes": np.array([each["box"] for each in objects], np.float32),
        "scores": np.array([each["score"] for each in objects]),
        "labels": np.array([each["class_id"] for each in objects]),
    }
    assert len(objects) == len(expected["scores"])
    partners = detection.partners(expected, found)
    assert (partners >= 0).all()
    for packed, index in zip(case.expected.get(f"masks-{size}", ()), partners, strict=False):
        reference = np.unpackbits(packed, axis=1, count=width)
        mask = coco.decode({"size": [height, width], "counts": objects[index]["counts"]})
        assert (mask == reference).mean() >= detection.SAME_PIXELS


def from_json(answer: dict) -> list[dict]:
    return [{**each, "counts": each.get("rle", {}).get("counts")} for each in answer["detections"]]


@pytest.mark.parametrize("name", NAMES)
def test_the_command_line_finds_the_objects_of_the_reference(name, files, tmp_path):
    case = cases.read(name)
    (tmp_path / "image.png").write_bytes(*case.images().values())
    model = f"{case.facts['model']}={files[name]}"
    ran = CliRunner().invoke(twins, ["detect", str(tmp_path / "image.png"), "--model", model, "--json"])
    assert ran.exit_code == 0, ran.output
    check(case, from_json(json.loads(ran.stdout)["answer"]))


@pytest.mark.parametrize("head", ["retinanet", "maskrcnn"])
def test_both_protocols_find_the_objects_of_the_reference(files, head):
    served = [(cases.read(name), files[name]) for name in NAMES if head in name]
    flags = [flag for case, file in served for flag in ("--model", f"{case.facts['model']}={file}")]
    with Server(*flags, "--request-timeout-s", "120") as server, grpc.insecure_channel(server.grpc) as channel:
        stub = pb_grpc.TwinsStub(channel)
        for case, _ in served:
            model, (data,) = case.facts["model"], case.images().values()
            response = httpx.post(f"{server.http}/detect", content=data, params={"model": model}, timeout=120)
            check(case, from_json(response.json()))
            answer = stub.Detect(pb.DetectRequest(image=data, model=model), timeout=120)
            check(case, [from_message(each) for each in answer.detections])


def from_message(found: pb.Detection) -> dict:
    box = [found.box.left, found.box.top, found.box.right, found.box.bottom]
    return {"box": box, "score": found.score, "class_id": found.class_id, "counts": found.rle}
