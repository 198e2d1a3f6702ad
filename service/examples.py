"""Examples for the OpenAPI document, which all HTTP interfaces share.

The answers are rendered from a result of each task, so they have the form of real answers.
"""

import base64
import io
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from PIL import Image

from service import errors
from service.errors import ServiceError
from twins.card import Card, Geometry, Label, Normalisation
from twins.render import RENDERERS
from twins.render.renderer import JSON, Renderer, RenderInput
from twins.tasks import TASKS
from twins.tasks.classify import Classification, Prediction
from twins.tasks.detection import Detection, DetectionResult
from twins.tasks.embed import Embedding
from twins.tasks.segmentation import Segmentation

MODEL_NAME, REQUEST_ID = "twins_svt_nano", "cat-1"
LABELS = (Label("cat", "n02121808"), Label("dog", "n02084071"))
CARD = Card(
    *(MODEL_NAME, "classify", "svt_nano", LABELS, Geometry(124, 112), Normalisation()),
    exif_orientation=True,
    source="the package",
    licence="Apache-2.0",
    backend="torch",
)

IMAGE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAUklEQVR42nXNwQmAQBAEwRIuk9vFSATNz+REzcXHwiGCn6FhaHpCiBAp39tE"
    "cLF+to6VnSTYiptMLpKTzl08jKDTmIuHsXEzc7C8jdFY/hpn8QN6/xmFQ2OSngAAAABJRU5ErkJggg=="
)
"""An image of 8 by 8 pixels, a PNG in base64."""

RESULTS: Mapping[str, Any] = {
    "classify": Classification((Prediction("cat", 0, 0.961, "n02121808"), Prediction("dog", 1, 0.023, "n02084071"))),
    "segment": Segmentation(
        np.array([[0, 0, 1, 1], [0, 1, 1, 1]], np.uint8), LABELS, confidence=np.full((2, 4), 204, np.uint8)
    ),
    "detect": DetectionResult(
        (Detection(0, "cat", 0.93, (1.0, 1.0, 7.0, 6.0), np.ones((28, 28), np.float32)),), (8, 8), LABELS
    ),
    "embed": Embedding(np.array([0.25, -1.5, 0.75], np.float32)),
}
"""A result of each task, without values that are null, which the framework leaves out of the document."""

OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "classify": {"top_k": 2},
    "segment": {"masks": "polygons"},
    "detect": {"threshold": 0.5},
    "embed": {"normalize": True},
}
"""Options of a request for each task."""

DETAILS: Mapping[type[ServiceError], str] = {
    errors.BadRequest: "the request's timeout must be a number of seconds above 0",
    errors.ModelControlFailed: "version 2 of pets is not served; load it first",
    errors.Unauthenticated: "send a key as `Authorization: Bearer KEY`",
    errors.Forbidden: "the key prometheus has no scope infer; it has metrics",
    errors.UnknownModel: "no model 'cats' is served; served: twins_svt_nano",
    errors.NotAcceptable: "the answer is available as application/json; the Accept header 'text/html' matches none",
    errors.RequestTimeout: "the deadline passed before the whole body had arrived",
    errors.TooLarge: "the request has more than 33554432 bytes",
    errors.UnsupportedMedia: "the Content-Encoding 'gzip' is not supported; send the body uncompressed",
    errors.UnreadableImage: "the image cannot be decoded: image file is truncated",
    errors.DecodeTimeout: "the image takes longer than 10 s to decode",
    errors.Overloaded: "256 images are waiting; the limit is 256",
    errors.QuotaExceeded: "8 images of this client are in flight; the limit is 8",
    errors.Internal: "see the server's log under this request's id",
    errors.Unavailable: "no worker is ready; models may still be loading",
    errors.DeadlineExceeded: "no answer within 5 s",
    errors.DeadlineAlreadyPassed: "the deadline had passed when the request arrived; set a later one",
}
"""What an error says, by its class."""


def example(value: Any, summary: str = "") -> dict[str, Any]:
    """Return an example with a value in JSON."""
    return {**titled(summary), "value": msgspec.to_builtins(value)}


def titled(summary: str) -> dict[str, str]:
    """Return the summary of an example, if it has one."""
    return {"summary": summary} if summary else {}


def file_example(content: bytes, media_type: str, summary: str = "") -> dict[str, Any]:
    """Return an example with a file, which is in the URL itself."""
    text = base64.b64encode(content).decode()
    return {**titled(summary), "externalValue": f"data:{media_type};base64,{text}"}


def rendered(task: str, renderer: Renderer, media_type: str) -> dict[str, Any]:
    """Return an example of the answer to one image in a format of a task."""
    image = Image.open(io.BytesIO(base64.b64decode(IMAGE)))
    inputs = RenderInput(RESULTS[task], CARD, TASKS[task].options(), image)
    content = renderer.render(inputs, media_type).content
    return example(msgspec.json.decode(content)) if media_type == JSON else file_example(content, media_type)


ANSWERS: Mapping[str, Mapping[str, dict[str, Any]]] = {
    task: {name: rendered(task, each, JSON) for name, each in renderers.items() if JSON in each.media_types}
    for task, renderers in RENDERERS.items()
}
"""The answers in JSON, by task and format."""

IMAGE_FILE = file_example(base64.b64decode(IMAGE), "image/png", "An image file as the body")
