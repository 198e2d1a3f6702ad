"""Segmentation over REST, over gRPC and on the command line."""

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
from tests import segmentation
from tests.golden import seeded
from tests.segmentation import CLASSES
from tests.server import Server

IGNORE_INDEX = 255


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    file = segmentation.tiny(tmp_path_factory.mktemp("weights"))
    with Server("--model", "twins_svt_nano", "--model", f"tiny={file}", "--max-batch", "4") as running:
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
def expected(client, cat) -> np.ndarray:
    """Return the mask of the cat in the simplest format."""
    return npy(client.post("/segment", content=cat, params={"format": "npy"}))


def npy(response: httpx.Response) -> np.ndarray:
    assert response.status_code == 200, response.text
    return np.load(io.BytesIO(response.content))


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def png(height: int, width: int, **save) -> bytes:
    """Return an image of this size."""
    file = io.BytesIO()
    Image.fromarray(seeded.image(f"{height}x{width}", height, width)).save(file, "png", **save)
    return file.getvalue()


def painted(answer: dict, paint) -> np.ndarray:
    """Return the mask that the classes of a JSON answer describe."""
    mask = np.full((answer["size"]["height"], answer["size"]["width"]), IGNORE_INDEX, np.uint8)
    for each in answer["classes"]:
        mask[paint(each, mask.shape) == 1] = each["class_id"]
    return mask


def fill(region: dict, shape: tuple[int, int]) -> np.ndarray:
    """Fill the polygons of a class with OpenCV: outlines with their borders, holes without theirs."""
    filled = np.zeros(shape, np.uint8)
    for polygon in region["polygons"]:
        rings = [np.array(ring, np.int32) for ring in (polygon["outline"], *polygon["holes"])]
        cv2.fillPoly(filled, rings, 1)
    return filled


# ---------------------------------------------------------------------- forms


def test_the_index_mask_is_grey_and_its_values_are_classes(client, cat, expected):
    response = client.post("/segment", content=cat, headers={"Accept": "image/png"})
    image = opened(response.content)
    assert (response.headers["content-type"], image.mode, image.size) == ("image/png", "L", (451, 300))
    assert np.array_equal(np.asarray(image), expected)
    assert expected.max() < CLASSES


def test_the_palette_holds_the_same_mask_and_the_colours(client, cat, expected):
    image = opened(client.post("/segment", content=cat, params={"format": "palette"}).content)
    colours = {each["class_id"]: each["colour"] for each in client.post("/segment", content=cat).json()["classes"]}
    assert np.array_equal(np.asarray(image), expected)
    assert all(f"#{bytes(image.getpalette()[3 * i : 3 * i + 3]).hex()}" == colour for i, colour in colours.items())


def test_run_lengths_are_read_back_by_coco(client, cat, expected):
    answer = client.post("/segment", content=cat).json()
    assert np.array_equal(painted(answer, lambda each, _: coco.decode(each["rle"])), expected)


def test_polygons_are_filled_by_opencv(client, cat, expected):
    answer = client.post("/segment", content=cat, params={"masks": "polygons"}).json()
    assert np.array_equal(painted(answer, fill), expected)


def test_json_can_contain_a_png(client, cat, expected):
    answer = client.post("/segment", content=cat, params={"masks": "png"}).json()
    assert np.array_equal(np.asarray(opened(base64.b64decode(answer["png"]))), expected)
    assert not {"rle", "polygons"} & set(answer["classes"][0])


def test_the_hugging_face_list_holds_the_same_mask(client, cat, expected):
    mask = np.full(expected.shape, IGNORE_INDEX, np.uint8)
    for each in client.post("/segment", content=cat, params={"format": "hf"}).json():
        mask[np.asarray(opened(base64.b64decode(each["mask"]))) == 255] = int(each["label"].removeprefix("class "))
    assert np.array_equal(mask, expected)


def test_the_classes_are_counted_and_boxed(client, cat, expected):
    answer = client.post("/segment", content=cat, params={"masks": "none"}).json()
    assert [each["class_id"] for each in answer["classes"]] == sorted(
        np.unique(expected).tolist(), key=lambda i: -(expected == i).sum()
    )
    for each in answer["classes"]:
        rows, columns = np.nonzero(expected == each["class_id"])
        assert each["pixels"] == len(rows)
        assert each["share"] == pytest.approx(len(rows) / expected.size)
        assert each["box"] == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert "confidence" not in each


@pytest.mark.parametrize(("accept", "kind"), [("image/png", "PNG"), ("image/jpeg", "JPEG")])
def test_an_overlay_has_the_size_of_the_image_and_the_requested_type(client, cat, accept, kind):
    response = client.post("/segment", content=cat, params={"format": "overlay"}, headers={"Accept": accept})
    assert (opened(response.content).format, opened(response.content).size) == (kind, (451, 300))


def test_an_overlay_without_opacity_is_the_image(client, cat):
    response = client.post("/segment", content=cat, params={"format": "overlay", "opacity": "0"})
    assert np.array_equal(np.asarray(opened(response.content)), np.asarray(opened(cat).convert("RGB")))


def test_an_overlay_shows_the_image_rotated_by_its_exif_tag(client):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = png(60, 90, exif=exif)
    response = client.post("/segment", content=data, params={"format": "overlay", "opacity": "0"})
    turned = np.asarray(opened(data).convert("RGB").transpose(Image.Transpose.ROTATE_270))
    assert np.array_equal(np.asarray(opened(response.content)), turned)


# ---------------------------------------------------------------------- options


def test_the_mask_can_have_the_input_size(client, cat):
    answer = client.post("/segment", content=cat, params={"size": "model", "masks": "none"}).json()
    assert answer["size"] == {"height": 512, "width": 770}


@pytest.mark.parametrize("query", ["classes=1,class 4", "classes=1&classes=4", "classes=CLASS 1&classes=4"])
def test_only_the_selected_classes_are_kept(client, cat, expected, query):
    found = npy(client.post(f"/segment?format=npy&{query}", content=cat))
    assert np.array_equal(found, np.where(np.isin(expected, [1, 4]), expected, IGNORE_INDEX))


def test_options_in_json_have_their_own_types(client, cat, expected):
    body = {"image": base64.b64encode(cat).decode(), "classes": [1, "class 4"], "confidence": True, "threshold": 0}
    answer = client.post("/segment", json=body).json()
    kept = np.where(np.isin(expected, [1, 4]), expected, IGNORE_INDEX)
    assert np.array_equal(painted(answer, lambda each, _: coco.decode(each["rle"])), kept)
    assert all(0 < each["confidence"] <= 1 for each in answer["classes"])


def test_pixels_below_the_threshold_have_no_class(client, cat, expected):
    found = npy(client.post("/segment", content=cat, params={"format": "npy", "threshold": "0.9"}))
    assert 0 < (found == IGNORE_INDEX).sum() < found.size
    assert np.array_equal(found[found != IGNORE_INDEX], expected[found != IGNORE_INDEX])


REFUSALS = {
    "an unknown class": ({"params": {"classes": "0,dragon"}}, 400, "no class 'dragon'"),
    "a threshold out of range": ({"params": {"threshold": "1.5"}}, 400, "from 0 to 1"),
    "a threshold that is no number": ({"params": {"threshold": "nan"}}, 400, "from 0 to 1"),
    "an opacity out of range": ({"params": {"opacity": "-1"}}, 400, "from 0 to 1"),
    "an opacity that is text": ({"params": {"opacity": "half"}}, 400, "must be a number"),
    "an unknown size": ({"params": {"size": "small"}}, 400, "original, model"),
    "an unknown format": ({"params": {"format": "gif"}}, 400, "json, png, palette"),
    "an unknown form of masks": ({"params": {"masks": "dots"}}, 400, "rle, polygons, png, none"),
    "a confidence that is neither": ({"params": {"confidence": "maybe"}}, 400, "true or false"),
    "another task's option": ({"params": {"top_k": "3"}}, 400, "no option is called 'top_k'"),
    "another task's model": ({"params": {"model": "twins_svt_nano"}}, 400, "for the task classify; it cannot segment"),
    "an unknown model": ({"params": {"model": "nobody"}}, 404, "nobody"),
    "an unknown media type": ({"headers": {"Accept": "text/html"}}, 406, "application/json, image/png"),
    "several images as an image": (
        {"content": None, "files": [("image", b"1"), ("image", b"2")], "headers": {"Accept": "image/png"}},
        406,
        "several images",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_impossible_options_are_rejected(client, cat, case):
    request, status, hint = REFUSALS[case]
    response = client.post("/segment", **{"content": cat, **request})
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    assert hint in response.json()["detail"]


def test_a_model_that_segments_does_not_classify(client, cat):
    response = client.post("/classify", content=cat, params={"model": "tiny"})
    assert (response.status_code, response.json()["code"]) == (400, "bad_request")


def test_several_images_answer_a_list_with_an_error_in_a_bad_ones_place(client, cat, expected):
    files = [("image", cat), ("image", b"no image"), ("image", cat)]
    first, bad, last = client.post("/segment", files=files).json()
    assert first == last
    assert np.array_equal(painted(first, lambda each, _: coco.decode(each["rle"])), expected)
    assert bad["error"]["code"] == "unsupported_media_type"


# ---------------------------------------------------------------------- company


def batches(server: Server) -> tuple[float, float]:
    """Return the number of batches of the model, and the number of images in them."""
    return server.metric("twins_batch_size_count", model="tiny"), server.metric("twins_batch_size_sum", model="tiny")


def test_ten_images_of_ten_sizes_at_once_get_the_same_masks_as_alone(client):
    images = [png(80 + 7 * i, 200 - 5 * i) for i in range(10)]

    def ask(data: bytes) -> np.ndarray:
        return npy(client.post("/segment", content=data, params={"format": "npy"}))

    alone = [ask(data) for data in images]
    with ThreadPoolExecutor(10) as threads:
        together = list(threads.map(ask, images))
    assert [mask.shape for mask in alone] == [(80 + 7 * i, 200 - 5 * i) for i in range(10)]
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


def test_images_of_one_size_share_batches_and_do_not_affect_each_other(server, client):
    images = [png(96, 128), *(png(96 + i, 128 + i) for i in (32, 64))] * 4
    (batches_before, images_before) = batches(server)
    files = [("image", data) for data in images]
    together = client.post("/segment", files=files).json()
    batches_after, images_after = batches(server)
    assert images_after - images_before == len(images)
    assert batches_after - batches_before < len(images)
    assert together == [client.post("/segment", content=data).json() for data in images[:3]] * 4


# ---------------------------------------------------------------------- gRPC


FORMS = {
    pb.MASK_FORMAT_UNSPECIFIED: lambda data: np.asarray(opened(data)),
    pb.MASK_FORMAT_PNG: lambda data: np.asarray(opened(data)),
    pb.MASK_FORMAT_PALETTE: lambda data: np.asarray(opened(data)),
    pb.MASK_FORMAT_NPY: lambda data: np.load(io.BytesIO(data)),
}


@pytest.mark.parametrize("form", FORMS)
def test_both_protocols_give_the_same_mask(stub, cat, expected, form):
    answer = stub.Segment(pb.SegmentRequest(image=cat, id="7", format=form))
    assert (answer.id, answer.model, answer.height, answer.width) == ("7", "tiny", 300, 451)
    assert np.array_equal(FORMS[form](answer.mask), expected)


def test_both_protocols_find_the_same_classes(client, stub, cat):
    options = {"threshold": 0.4, "classes": ["0", "class 4"]}
    over_http = client.post("/segment", content=cat, params=options).json()["classes"]
    over_grpc = stub.Segment(pb.SegmentRequest(image=cat, format=pb.MASK_FORMAT_RLE, **options))
    assert (over_grpc.mask, over_grpc.media_type) == (b"", "")
    for found, other in zip(over_grpc.classes, over_http, strict=True):
        assert (found.class_id, found.label, found.colour) == (other["class_id"], other["label"], other["colour"])
        assert (found.pixels, found.share, found.confidence) == (other["pixels"], other["share"], other["confidence"])
        assert [found.box.left, found.box.top, found.box.right, found.box.bottom] == other["box"]
        assert found.rle == other["rle"]["counts"]


@pytest.mark.parametrize(
    ("form", "kind"), [(pb.MASK_FORMAT_OVERLAY_PNG, "image/png"), (pb.MASK_FORMAT_OVERLAY_JPEG, "image/jpeg")]
)
def test_both_protocols_paint_the_same_overlay(client, stub, cat, form, kind):
    answer = stub.Segment(pb.SegmentRequest(image=cat, format=form, opacity=0.3))
    params = {"format": "overlay", "opacity": "0.3"}
    assert answer.mask == client.post("/segment", content=cat, params=params, headers={"Accept": kind}).content
    assert answer.media_type == kind


def test_a_mask_can_be_left_out_and_can_have_the_input_size(stub, cat):
    answer = stub.Segment(pb.SegmentRequest(image=cat, format=pb.MASK_FORMAT_NONE, size=pb.MASK_SIZE_MODEL))
    assert (answer.mask, answer.height, answer.width) == (b"", 512, 770)
    assert sum(each.pixels for each in answer.classes) == 512 * 770


@pytest.mark.parametrize(
    "options",
    [
        {"classes": ["dragon"]},
        {"threshold": 2},
        {"opacity": 2},
        {"format": 99},
        {"size": 99},
        {"model": "twins_svt_nano"},
    ],
)
def test_impossible_options_are_invalid_arguments(stub, cat, options):
    with pytest.raises(grpc.RpcError) as caught:
        stub.Segment(pb.SegmentRequest(image=cat, **options))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_stream_answers_every_request_by_its_id(stub, cat, expected):
    images = {"cat": cat, "text": b"no image", "again": cat}
    requests = (pb.SegmentRequest(image=image, id=name) for name, image in images.items())
    answers = {answer.id: answer for answer in stub.SegmentStream(requests)}
    assert answers["text"].error.code == "unsupported_media_type"
    for name in ("cat", "again"):
        assert np.array_equal(np.asarray(opened(answers[name].result.mask)), expected)


def test_a_stream_longer_than_its_width_is_answered_to_the_end(stub):
    requests = (pb.SegmentRequest(image=b"no image", id=str(i)) for i in range(200))
    assert {answer.id for answer in stub.SegmentStream(requests)} == set(map(str, range(200)))
