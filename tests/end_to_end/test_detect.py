"""Detection over REST and over gRPC."""

import base64
import io
from concurrent.futures import ThreadPoolExecutor

import cv2
import grpc
import httpx
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from service.pb.twins.v1 import twins_pb2 as pb
from service.pb.twins.v1 import twins_pb2_grpc as pb_grpc
from tests.crafted import encoded
from tests.golden import seeded
from tests.server import Server

SIZE = [300, 451]
LOW = {"threshold": "0.02"}  # a random network is not certain


@pytest.fixture(scope="module")
def server(detector):
    with Server("--model", "twins_svt_nano", "--model", detector, "--max-batch", "4") as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    with httpx.Client(base_url=server.http, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def stub(server):
    with grpc.insecure_channel(server.grpc) as channel:
        yield pb_grpc.TwinsStub(channel)


@pytest.fixture(scope="module")
def expected(client, cat) -> list[dict]:
    """Return the objects of the cat with their run lengths."""
    return found(client.post("/detect", content=cat))


def found(response: httpx.Response) -> list[dict]:
    assert response.status_code == 200, response.text
    return response.json()["detections"]


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def png(height: int, width: int) -> bytes:
    """Return an image of this size."""
    return encoded("png", Image.fromarray(seeded.image(f"{height}x{width}", height, width)))


def plain(objects: list[dict]) -> np.ndarray:
    """Return a row of class, score and box for each object."""
    return np.array([(each["class_id"], each["score"], *each["box"]) for each in objects])


# ---------------------------------------------------------------------- forms


def test_the_objects_are_within_the_image_and_the_best_one_is_first(client, cat, expected):
    answer = client.post("/detect", content=cat).json()
    assert (answer["model"], answer["size"]) == ("tiny", {"height": 300, "width": 451})
    assert 0 < len(expected) <= 100
    assert [each["score"] for each in expected] == sorted((each["score"] for each in expected), reverse=True)
    for each in expected:
        left, top, right, bottom = each["box"]
        assert 0 <= left < right <= 451.01
        assert 0 <= top < bottom <= 300.01
        assert each["label"] == ("cat", "dog", "bird")[each["class_id"]]


def test_run_lengths_are_read_by_coco_and_lie_in_the_box(expected):
    for each in expected:
        mask = coco.decode(each["rle"])
        rows, columns = np.nonzero(mask)
        left, top, right, bottom = each["box"]
        assert list(mask.shape) == SIZE
        if len(rows):
            assert left - 1 <= columns.min() <= columns.max() <= right
            assert top - 1 <= rows.min() <= rows.max() <= bottom


def test_polygons_are_the_same_masks(client, cat, expected):
    for each, other in zip(
        found(client.post("/detect", content=cat, params={"masks": "polygons"})), expected, strict=True
    ):
        filled = np.zeros(SIZE, np.uint8)
        for polygon in each["polygons"]:
            cv2.fillPoly(filled, [np.array(ring, np.int32) for ring in (polygon["outline"], *polygon["holes"])], 1)
        assert np.array_equal(filled, coco.decode(other["rle"]))


def test_pngs_are_the_same_masks(client, cat, expected):
    for each, other in zip(found(client.post("/detect", content=cat, params={"masks": "png"})), expected, strict=True):
        part = np.asarray(opened(base64.b64decode(each["png"]["png"]))) == 255
        whole = np.zeros(SIZE, np.uint8)
        left, top = each["png"]["left"], each["png"]["top"]
        whole[top : top + part.shape[0], left : left + part.shape[1]] = part
        assert np.array_equal(whole, coco.decode(other["rle"]))


def test_without_masks_the_boxes_are_the_same(client, cat, expected):
    bare = found(client.post("/detect", content=cat, params={"masks": "none"}))
    assert plain(bare) == pytest.approx(plain(expected))
    assert not {"rle", "polygons", "png"} & bare[0].keys()


def test_the_numpy_file_has_a_row_for_each_object(client, cat, expected):
    rows = np.load(io.BytesIO(client.post("/detect", content=cat, headers={"Accept": "application/x-npy"}).content))
    assert rows.dtype == np.float32
    assert np.allclose(rows, [(*each["box"], each["score"], each["class_id"]) for each in expected])


def test_the_hugging_face_list_has_the_same_objects(client, cat, expected):
    listed = client.post("/detect", content=cat, params={"format": "hf"}).json()
    assert [(each["label"], each["score"]) for each in listed] == [(each["label"], each["score"]) for each in expected]
    assert all(abs(each["box"]["xmin"] - other["box"][0]) <= 0.5 for each, other in zip(listed, expected, strict=True))


def test_the_list_of_coco_is_read_by_coco(client, cat, expected):
    listed = client.post("/detect", content=cat, params={"format": "coco", "image_id": "42"}).json()
    assert {each["image_id"] for each in listed} == {42}
    for each, other in zip(listed, expected, strict=True):
        left, top, right, bottom = other["box"]
        assert each["bbox"] == pytest.approx([left, top, right - left, bottom - top])
        assert each["segmentation"] == other["rle"]


@pytest.mark.parametrize(("accept", "kind"), [("image/png", "PNG"), ("image/jpeg", "JPEG")])
def test_an_overlay_has_the_size_of_the_image_and_the_requested_type(client, cat, accept, kind):
    response = client.post("/detect", content=cat, params={"format": "overlay"}, headers={"Accept": accept})
    assert (opened(response.content).format, opened(response.content).size) == (kind, (451, 300))


def test_boxes_are_those_of_the_image_turned_by_its_exif_tag(client):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned, straight = io.BytesIO(), io.BytesIO()
    pixels = Image.fromarray(seeded.image("turned", 60, 90))
    pixels.save(turned, "png", exif=exif)
    pixels.transpose(Image.Transpose.ROTATE_270).save(straight, "png")
    answers = [client.post("/detect", content=file.getvalue(), params=LOW).json() for file in (turned, straight)]
    assert answers[0]["size"] == {"height": 90, "width": 60}
    assert answers[0] == answers[1]


# ---------------------------------------------------------------------- options


def test_only_better_objects_than_the_threshold_are_returned(client, cat, expected):
    middle = expected[len(expected) // 2]["score"]
    better = found(client.post("/detect", content=cat, params={"threshold": str(middle), "masks": "none"}))
    assert plain(better) == pytest.approx(plain([each for each in expected if each["score"] > middle]))


def test_at_most_so_many_objects_are_returned(client, cat, expected):
    few = found(client.post("/detect", content=cat, params={"max_detections": "2"}))
    assert plain(few) == pytest.approx(plain(expected[:2]))


@pytest.mark.parametrize("query", ["classes=dog,2", "classes=1&classes=BIRD"])
def test_only_the_selected_classes_are_found(client, cat, query):
    labels = {each["label"] for each in found(client.post(f"/detect?{query}&threshold=0", content=cat))}
    assert labels <= {"dog", "bird"}
    assert labels


def test_options_in_json_have_their_own_types(client, cat):
    body = {
        "image": base64.b64encode(cat).decode(),
        "classes": [1],
        "max_detections": 3,
        "threshold": 0,
        "masks": "none",
    }
    objects = found(client.post("/detect", json=body))
    assert [each["class_id"] for each in objects] == [1, 1, 1]


REFUSALS = {
    "an unknown class": ({"params": {"classes": "dragon"}}, 400, "no class 'dragon'"),
    "a threshold out of range": ({"params": {"threshold": "1.5"}}, 400, "from 0 to 1"),
    "an overlap out of range": ({"params": {"iou_threshold": "-1"}}, 400, "from 0 to 1"),
    "too many detections": ({"params": {"max_detections": "100000"}}, 400, "from 1 to 1000"),
    "no detections": ({"params": {"max_detections": "0"}}, 400, "from 1 to 1000"),
    "an unknown format": ({"params": {"format": "gif"}}, 400, "json, overlay"),
    "an unknown form of masks": ({"params": {"masks": "dots"}}, 400, "rle, polygons, png, none"),
    "another task's model": ({"params": {"model": "twins_svt_nano"}}, 400, "for the task classify; it cannot detect"),
    "an unknown model": ({"params": {"model": "nobody"}}, 404, "nobody"),
    "an unknown media type": ({"headers": {"Accept": "text/html"}}, 406, "application/json"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_impossible_options_are_rejected(client, cat, case):
    request, status, hint = REFUSALS[case]
    response = client.post("/detect", **{"content": cat, **request})
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    assert hint in response.json()["detail"]


def test_a_service_without_a_detector_says_so(cat):
    with Server("--model", "twins_svt_nano") as server:
        response = httpx.post(f"{server.http}/detect", content=cat)
    assert response.status_code == 404
    assert "detect" in response.json()["detail"]


def test_several_images_answer_a_list_with_an_error_in_a_bad_ones_place(client, cat, expected):
    files = [("image", cat), ("image", b"no image"), ("image", cat)]
    first, bad, last = client.post("/detect", files=files).json()
    assert plain(first["detections"]) == pytest.approx(plain(expected), abs=1e-3)
    assert plain(last["detections"]) == pytest.approx(plain(expected), abs=1e-3)
    assert bad["error"]["code"] == "unsupported_media_type"


def test_the_card_says_which_backend_runs_a_detector(client):
    cards = {card["name"]: card for card in client.get("/models").json()["models"]}
    assert (cards["tiny"]["task"], cards["tiny"]["backend"]) == ("detect", "torch")


# ---------------------------------------------------------------------- company


def test_ten_images_of_ten_sizes_at_once_get_the_same_objects_as_alone(client):
    images = [png(80 + 7 * i, 200 - 5 * i) for i in range(10)]

    def ask(data: bytes) -> np.ndarray:
        return plain(found(client.post("/detect", content=data, params=LOW)))

    alone = [ask(data) for data in images]
    with ThreadPoolExecutor(10) as threads:
        together = list(threads.map(ask, images))
    for one, other in zip(alone, together, strict=True):
        assert one == pytest.approx(other, abs=1e-3)


def test_images_of_one_size_share_batches(server, client):
    def batches() -> tuple[float, float]:
        return server.metric("twins_batch_size_count", model="tiny"), server.metric(
            "twins_batch_size_sum", model="tiny"
        )

    count, images = batches()
    client.post("/detect", files=[("image", png(90, 120))] * 8)
    after, images_after = batches()
    assert images_after - images == 8
    assert after - count < 8


# ---------------------------------------------------------------------- gRPC


def test_both_protocols_find_the_same_objects(stub, cat, expected):
    answer = stub.Detect(pb.DetectRequest(image=cat, id="7"))
    assert (answer.id, answer.model, answer.height, answer.width, answer.file) == ("7", "tiny", 300, 451, b"")
    rows = [
        (each.class_id, each.score, each.box.left, each.box.top, each.box.right, each.box.bottom)
        for each in answer.detections
    ]
    assert np.array(rows) == pytest.approx(plain(expected), abs=1e-3)
    assert [each.rle for each in answer.detections] == [each["rle"]["counts"] for each in expected]
    assert [each.label for each in answer.detections] == [each["label"] for each in expected]


def test_both_protocols_have_the_same_forms_of_masks(client, stub, cat):
    for name, form in (("polygons", pb.INSTANCE_MASKS_POLYGONS), ("png", pb.INSTANCE_MASKS_PNG)):
        web = found(client.post("/detect", content=cat, params={"masks": name}))
        rpc = stub.Detect(pb.DetectRequest(image=cat, masks=form)).detections
        for each, other in zip(web, rpc, strict=True):
            if name == "png":
                assert base64.b64decode(each["png"]["png"]) == other.png.png
                assert (each["png"]["left"], each["png"]["top"]) == (other.png.left, other.png.top)
            else:
                rings = [list(np.ravel(polygon["outline"])) for polygon in each["polygons"]]
                assert rings == [list(polygon.outline.corners) for polygon in other.polygons]


def test_a_request_can_leave_the_masks_out(stub, cat):
    answer = stub.Detect(pb.DetectRequest(image=cat, masks=pb.INSTANCE_MASKS_NONE, max_detections=3))
    assert len(answer.detections) == 3
    assert not any(each.rle for each in answer.detections)


@pytest.mark.parametrize(
    ("form", "kind"), [(pb.DETECT_FILE_OVERLAY_PNG, "image/png"), (pb.DETECT_FILE_OVERLAY_JPEG, "image/jpeg")]
)
def test_both_protocols_draw_the_same_overlay(client, stub, cat, form, kind):
    answer = stub.Detect(pb.DetectRequest(image=cat, file=form, opacity=0.3))
    params = {"format": "overlay", "opacity": "0.3"}
    assert answer.file == client.post("/detect", content=cat, params=params, headers={"Accept": kind}).content
    assert answer.media_type == kind


@pytest.mark.parametrize(
    "options",
    [
        {"classes": ["dragon"]},
        {"threshold": 2},
        {"iou_threshold": 2},
        {"max_detections": 0},
        {"masks": 99},
        {"file": 99},
        {"model": "twins_svt_nano"},
    ],
)
def test_impossible_options_are_invalid_arguments(stub, cat, options):
    with pytest.raises(grpc.RpcError) as caught:
        stub.Detect(pb.DetectRequest(image=cat, **options))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_stream_answers_every_request_by_its_id(stub, cat, expected):
    images = {"cat": cat, "text": b"no image", "again": cat}
    requests = (pb.DetectRequest(image=image, id=name) for name, image in images.items())
    answers = {answer.id: answer for answer in stub.DetectStream(requests)}
    assert answers["text"].error.code == "unsupported_media_type"
    for name in ("cat", "again"):
        assert [each.label for each in answers[name].result.detections] == [each["label"] for each in expected]


def test_the_request_is_logged_with_its_task(server, client, cat):
    client.post("/detect", content=cat, headers={"X-Request-Id": "of-the-detector"})
    line = server.wait_for("request", request_id="of-the-detector")
    assert (line["code"], line["path"]) == ("ok", "/detect")
