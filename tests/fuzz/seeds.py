"""Write the seeds, which are small and valid inputs of each target: `python -m tests.fuzz.seeds`.

The folders also keep inputs that were findings once, whose names start with `mended`.
"""

import base64
import io
import json
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from service.oip import tensors
from service.pb.inference import grpc_service_pb2 as oip
from service.pb.twins.v1 import twins_pb2 as pb
from tests import checkpoints
from tests.checkpoints import TINY_PCPVT, TINY_SVT, mmpretrain_name
from tests.crafted import encoded, image
from tests.fuzz.target import SEEDS
from tests.hostile import oriented

Inputs = Mapping[str, bytes]

SIZE = (12, 9)
MENDED = "mended"


def images() -> Inputs:
    """Return an image of each type and mode."""
    rgb = image(size=SIZE)
    modes = {mode: image(mode, SIZE) for mode in ("1", "L", "LA", "P", "RGBA", "CMYK")}
    animation = {"save_all": True, "append_images": [rgb.rotate(180)]}
    return {
        "jpeg": oriented("JPEG", 6, rgb),
        "jpeg-progressive": encoded("JPEG", rgb, progressive=True),
        "jpeg-cmyk": encoded("JPEG", modes["CMYK"]),
        "png": encoded("PNG", rgb),
        "png-palette": encoded("PNG", modes["P"]),
        "png-alpha": encoded("PNG", modes["LA"]),
        "png-animated": encoded("PNG", rgb, **animation),
        "webp": encoded("WEBP", rgb),
        "webp-lossless": encoded("WEBP", modes["RGBA"], lossless=True),
        "webp-animated": encoded("WEBP", rgb, **animation),
        "bmp": encoded("BMP", modes["1"]),
        "gif": encoded("GIF", modes["P"]),
        "gif-animated": encoded("GIF", rgb, **animation),
        "tiff": encoded("TIFF", rgb),
        "tiff-deflated": encoded("TIFF", modes["L"], compression="tiff_adobe_deflate"),
        "tiff-fax": encoded("TIFF", modes["1"], compression="group4"),
        "tiff-big": encoded("TIFF", rgb, big_tiff=True),
        "avif": encoded("AVIF", rgb),
    }


PNG = encoded("PNG", image(size=(8, 8)))
TEXT = base64.b64encode(PNG).decode()


def requests() -> Inputs:
    """Return requests in each form."""
    part = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n%s\r\n%s\r\n'
    file = part % (b"image", b'; filename="cat.png"', b"Content-Type: image/png\r\n", PNG)
    again = part % (b"images", b"; filename*=utf-8''c%C3%A4t.png", b"", PNG)
    option = part % (b"top_k", b"", b"Content-Type: text/plain; charset=utf-8\r\n", b"2")
    form, end, as_json = b"multipart/form-data; boundary=b\n", b"--b--\r\n", b"application/json\n"
    detect = {"image": TEXT, "threshold": 0.5, "max_detections": 3, "classes": ["cat", 1], "masks": "png"}
    segment = {
        "image": TEXT,
        "size": "model",
        "classes": ["cat"],
        "threshold": 0.5,
        "confidence": True,
        "format": "png",
    }
    hf = {"inputs": TEXT, "parameters": {"top_k": 2, "function_to_apply": "softmax"}}
    vertex = {"instances": [{"b64": TEXT}], "parameters": {"top_k": 2, "model": "second"}}
    return {
        "bare": b"classify?top_k=2\nimage/png\n" + PNG,
        "form": b"classify\n" + form + file + option + end,
        "form-of-two": b"embed\n" + form + file + again + end,
        "json": b"classify\n" + as_json + json.dumps({"image": TEXT, "top_k": 2}).encode(),
        "json-of-two": b"embed?normalize=true\n" + as_json + json.dumps({"images": [TEXT, TEXT]}).encode(),
        "json-detect": b"detect?iou_threshold=0.5&image_id=1\n" + as_json + json.dumps(detect).encode(),
        "json-segment": b"segment?opacity=0.5&format=json\n" + as_json + json.dumps(segment).encode(),
        "hugging-face": b"models/first/pipeline/image-classification\n" + as_json + json.dumps(hf).encode(),
        "torchserve": b"predictions/first/1.0\nimage/png\n" + PNG,
        "sagemaker": b"invocations\n" + form + file + end,
        "vertex": b"vertex\n" + as_json + json.dumps(vertex).encode(),
        "model": b"classify?model=second@1\n"
        + as_json
        + json.dumps({"image": "data:image/png;base64," + TEXT}).encode(),
    }


def tensor(name: str, datatype: str, shape: list[int], **values: object) -> dict[str, object]:
    """Return an input of the Open Inference Protocol."""
    return {"name": name, "datatype": datatype, "shape": shape, **values}


def binary(given: dict[str, object], values: bytes, **request: object) -> bytes:
    """Return a request with one tensor whose values follow the JSON part."""
    given = {**given, "parameters": {"binary_data_size": len(values)}}
    text = json.dumps({"inputs": [given], **request}).encode()
    return str(len(text)).encode() + b"\n" + text + values


def inputs() -> Inputs:
    """Return requests of the Open Inference Protocol over HTTP."""
    pixels, network = np.zeros((1, 2, 2, 3), np.uint8), np.zeros((1, 3, 2, 2), np.float32)
    outputs = [{"name": "scores", "parameters": {"classification": 2, "binary_data": True}}, {"name": "errors"}]
    parameters = {"top_k": 2, "priority": 1, "timeout": 1000000, "binary_data_output": True, "triton_x": "y"}
    listed = json.dumps({"inputs": [tensor("image", "BYTES", [2], data=[TEXT, TEXT])], "id": "a"})
    asked = {"inputs": [tensor("pixels", "UINT8", [1, 2, 2, 3], data=pixels.tolist())], "outputs": outputs}
    elements = tensors.to_binary(tensors.from_elements(tensors.Header("image", "BYTES", (1,)), [PNG]))
    return {
        "image": b"0\n" + PNG,
        "list": b"\n" + listed.encode(),
        "pixels": b"\n" + json.dumps({**asked, "parameters": parameters}).encode(),
        "binary-image": binary(tensor("image", "BYTES", [1, 1]), elements),
        "binary-pixels": binary(tensor("pixels", "UINT8", [1, 2, 2, 3]), pixels.tobytes(), outputs=outputs),
        "binary-input": binary(tensor("input", "FP32", [1, 3, 2, 2]), network.tobytes(), id="b"),
    }


def messages() -> Inputs:
    """Return messages of gRPC; the first byte is the index of the method."""
    request = oip.ModelInferRequest
    pixels = request.InferInputTensor(name="pixels", datatype="UINT8", shape=[1, 2, 2, 3])
    files = request.InferInputTensor(name="image", datatype="BYTES", shape=[1])
    files.contents.bytes_contents.append(PNG)
    asked = request(model_name="first", id="a", inputs=[pixels], raw_input_contents=[bytes(12)])
    asked.parameters["top_k"].int64_param = 2
    asked.outputs.add(name="scores").parameters["classification"].int64_param = 2
    segment = pb.SegmentRequest(image=PNG, classes=["cat"], threshold=0.5)
    found = (
        ("binary", 0, asked),
        ("contents", 0, request(model_name="first", model_version="1", inputs=[files])),
        ("classify", 1, pb.ClassifyRequest(image=PNG, top_k=2, id="b", model="first")),
        ("segment", 2, segment),
        ("detect", 3, pb.DetectRequest(image=PNG, threshold=0.5)),
        ("embed", 4, pb.EmbedRequest(image=PNG, normalize=True)),
    )
    return {name: bytes([index]) + message.SerializeToString() for name, index, message in found}


def heads() -> Inputs:
    """Return what clients send on a connection; the first byte is the size of the pieces."""
    chunked = (
        b"POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n"
    )
    live = b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\r\n\r\n"
    post = b"POST /v1/embed/?normalize=true HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % len(PNG)
    headers = b"Authorization: Bearer k\r\nX-Request-Timeout: 5\r\nAccept: application/json;q=0.5, */*\r\n\r\n"
    return {
        "chunked": b"\x07" + chunked,
        "pipelined": b"\x20" + live + b"HEAD /models/first HTTP/1.1\r\nHost: x\r\n\r\n" + live,
        "image": b"\0" + post + headers + PNG,
        "upgrade": b"\0GET /v2 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, x\r\nUpgrade: h2c\r\n\r\n",
        "old": b"\0GET /models HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "forwarded": b"\0GET /%2e%2e/v2/x HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 1.2.3.4, ::1\r\nOrigin: a\r\n\r\n",
    }


def files() -> Inputs:
    """Return checkpoint files of each kind, with a few parameters."""
    state = {"head.weight": torch.zeros(2, 4), "patch_embeds.0.proj.weight": torch.zeros(4, 3, 1, 1)}
    metadata = {"format": "pt", "twins.labels": '["cat", "dog"]', "twins.mean": "[0.5, 0.5, 0.5]", "twins.size": "32"}
    return {
        "safetensors": save(state, metadata),
        "archive": saved({"model": state, "epoch": 1}),
        "old": saved({"state_dict": state, "meta": {"CLASSES": ("cat",)}}, _use_new_zipfile_serialization=False),
        "classes": saved({"state_dict": state, "hook": Path("x")}),
    }


def saved(content: object, **options: bool) -> bytes:
    """Return a file of `torch.save`."""
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def pickles() -> Inputs:
    """Return pickles that `torch.save` and others write."""
    tensors_of = {"head.weight": torch.zeros(2, 4), "norm.weight": torch.zeros(4)}
    contents = {
        "state": tensors_of,
        "parameters": {"model": {key: torch.nn.Parameter(value) for key, value in tensors_of.items()}},
        "network": torch.nn.Linear(2, 3),
        "numpy": {"model": tensors_of, "best": np.float64(1), "at": {1, 2}, "path": Path("x")},
    }
    found = {}
    for name, content in contents.items():
        with zipfile.ZipFile(io.BytesIO(saved(content))) as file:
            found[name] = file.read("archive/data.pkl")
    return {**found, "plain": pickle.dumps({"a": [1, 2.5, "x", None]}, 2)}


def networks() -> Inputs:
    """Return the names and shapes of small networks, and metadata of each project."""
    svt, pcpvt = (
        {key: list(tensor.shape) for key, tensor in checkpoints.seeded(variant, 2).items()}
        for variant in (TINY_SVT, TINY_PCPVT)
    )
    metadata = {
        **{"twins.family": '{"edge": "masked", "eps": 1e-5}', "twins.labels": '["cat", "dog"]'},
        **{"twins.palette": '["#000000", "#ffffff"]', "twins.size": "64", "twins.crop": "0.9"},
        **{"twins.interpolation": '"bicubic"', "twins.mean": "[0.5, 0.5, 0.5]", "twins.default_crop": "0.875"},
    }
    config = "model = dict(data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58, 57, 57], bgr_to_rgb=True))"
    meta = {"dataset_meta": {"classes": ["cat", "dog"], "palette": [[0, 0, 0], [1, 2, 3]]}, "cfg": config}
    values = {"input_size": [3, 64, 64], "crop_pct": 0.9, "interpolation": "bicubic", "mean": [0.5] * 3, "std": [1] * 3}
    timm = {"architecture": "twins_svt_small", "pretrained_cfg": values}
    documents = {
        "svt": {"tensors": svt, "metadata": metadata},
        "pcpvt": {"tensors": pcpvt, "timm": timm},
        "mmpretrain": {"tensors": {mmpretrain_name(key): shape for key, shape in svt.items()}, "meta": meta},
    }
    return {name: json.dumps(document, separators=(",", ":")).encode() for name, document in documents.items()}


ALL = {
    "checkpoints": files,
    "heads": heads,
    "images": images,
    "messages": messages,
    "networks": networks,
    "pickles": pickles,
    "requests": requests,
    "tensors": inputs,
}


def main() -> None:
    """Replace the seeds of all targets, but for the findings that were mended."""
    for name, make in ALL.items():
        folder = SEEDS / name
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            if not path.name.startswith(MENDED):
                path.unlink()
        for seed, data in make().items():
            (folder / seed).write_bytes(data)


if __name__ == "__main__":
    main()
