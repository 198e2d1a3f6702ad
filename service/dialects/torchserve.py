"""TorchServe's interface: `/predictions/MODEL` takes an image as the body or in a form. SageMaker uses its `/ping`.

The answers are those of TorchServe's handlers: scores by label, and a list of boxes by label. Masks have the JSON form
of `/segment`, since a list for every pixel would take megabytes.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from service.core.engine import Engine
from service.dialects import exchange
from service.dialects.exchange import Content
from twins.render import RENDERERS
from twins.render.renderer import JSON, Renderer, RenderInput

PART = "data"  # of a form


def scores(inputs: RenderInput) -> bytes:
    """Return the scores of the best classes by label."""
    return msgspec.json.encode({each.label: each.score for each in inputs.result.predictions})


def found_objects(inputs: RenderInput) -> bytes:
    """Return the box of each object by label, with its score."""
    return msgspec.json.encode([{each.label: each.box, "score": each.score} for each in inputs.result.detections])


FORMS: Mapping[str, Renderer] = {
    "classify": Renderer({JSON: scores}),
    "detect": Renderer({JSON: found_objects}),
    "segment": RENDERERS["segment"]["json"],
}
"""The form of the answer of each task."""


async def predict(request: Request, engine: Engine) -> Response:
    """Return the answer of the model in the path."""
    with exchange.opened(request, engine) as opened:
        name, version = request.path_params["model"], request.path_params.get("version", "")
        card = engine.version(name, version.removesuffix(".0"))
        content = Content((await opened.read_image(PART),))
        return exchange.one(await opened.run(card, FORMS[card.task], content))


async def ping(request: Request, engine: Engine) -> Response:  # noqa: ARG001
    """Return whether the service is ready."""
    document: dict[str, Any] = {"status": "Healthy" if engine.ready else "Unhealthy"}
    return Response(msgspec.json.encode(document), 200 if engine.ready else 503, media_type=JSON)
