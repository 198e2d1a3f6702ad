"""The requests and answers of each form."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.rivals.contestants import Form

BOUNDARY = "----bench-boundary"


@dataclass(frozen=True)
class Request:
    """What every request to a server contains."""

    headers: Mapping[str, str]
    body: bytes


def multipart(image: bytes) -> Request:
    """Return a form with one file."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="image.jpg"\r\n'
    body = f"{head}Content-Type: image/jpeg\r\n\r\n".encode() + image + f"\r\n--{BOUNDARY}--\r\n".encode()
    return Request({"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}, body)


def plain(image: bytes) -> Request:
    """Return the image as the body."""
    return Request({"Content-Type": "image/jpeg"}, image)


def tensor(image: bytes) -> Request:
    """Return the image as a tensor of one element, in the binary form of the V2 protocol."""
    element = len(image).to_bytes(4, "little") + image
    described = {
        "name": "image",
        "shape": [1, 1],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": len(element)},
    }
    head = json.dumps({"inputs": [described]}).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    return Request(headers, head + element)


REQUESTS = {"multipart": multipart, "body": plain, "tensor": tensor}

Best = list[tuple[int, float]]
"""The ids and scores of the five best classes."""


def best(form: Form, answer: bytes) -> Best:
    """Return the classes of an answer. Raise ValueError or KeyError if it has none."""
    document: dict[str, Any] = json.loads(answer)
    if form == "tensor":
        outputs = {each["name"]: each["data"] for each in document["outputs"]}
        return list(zip(outputs["class_id"], outputs["score"], strict=True))
    return [(each["class_id"], each["score"]) for each in document["predictions"]]


def same(found: Best, wanted: Best) -> bool:
    """Return whether two answers have the same classes in the same order, and equal scores but for rounding."""
    return len(found) == len(wanted) and all(
        class_id == other_id and abs(score - other) < 2e-3
        for (class_id, score), (other_id, other) in zip(found, wanted, strict=True)
    )
