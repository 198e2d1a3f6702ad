"""Hugging Face's inference API: the body is an image, or `{"inputs": base64, "parameters": {…}}`.

Source: the task schemas of huggingface.js for image-classification, image-segmentation and object-detection.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from service.core.engine import Engine
from service.dialects import exchange
from service.dialects.exchange import Content
from service.errors import BadRequest, UnknownModel
from service.rest.body import from_base64
from twins.render import RENDERERS

TASKS: Mapping[str, str] = {
    "image-classification": "classify",
    "image-segmentation": "segment",
    "object-detection": "detect",
}
"""Our task for each of Hugging Face's."""
FIXED: Mapping[str, tuple[Any, ...]] = {
    "function_to_apply": (None, "softmax"),
    "subtask": (None, "semantic"),
    "mask_threshold": (None,),
    "overlap_mask_area_threshold": (None,),
}
"""Parameters of which this service knows some values only."""


class Body(msgspec.Struct, frozen=True):
    """A request in JSON."""

    inputs: str
    parameters: dict[str, Any] = {}


async def answer(request: Request, engine: Engine) -> Response:
    """Return the answer of a model, which the path names, or its task, or neither: the first model then."""
    with exchange.opened(request, engine) as opened:
        model, task = request.path_params.get("model"), task_of(request.path_params.get("task"))
        card = engine.card(model, task) if model or task else engine.served()[0]
        body = await opened.read_body()
        content = parse(body) if exchange.is_json(request) else Content((body,))
        return exchange.one(await opened.run(card, RENDERERS[card.task]["hf"], content))


def task_of(name: str | None) -> str | None:
    """Return our task. Raise UnknownModel for one that this service does not have."""
    if name is not None and name not in TASKS:
        raise UnknownModel(f"no task is called {name[:40]!r}; the tasks are {', '.join(TASKS)}")
    return TASKS[name] if name else None


def parse(body: bytes) -> Content:
    """Return the image and the options of a body in JSON. Raise BadRequest."""
    given = exchange.decode(body, Body)
    for name, known in FIXED.items():
        if given.parameters.get(name) not in known:
            words = " or ".join(repr(value) for value in known if value is not None) or "absent"
            raise BadRequest(f"the parameter {name} must be {words}")
    options = {name: value for name, value in given.parameters.items() if name not in FIXED and value is not None}
    return Content((from_base64("inputs", given.inputs),), options)
