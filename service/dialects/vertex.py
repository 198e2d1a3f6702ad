"""Vertex AI's interface: `{"instances": [{"b64": …}, …], "parameters": {…}}` in, `{"predictions": […]}` out.

Its paths are those of the settings, which Vertex AI gives in the variables `AIP_PREDICT_ROUTE` and `AIP_HEALTH_ROUTE`.
"""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from service.core.call import Answer
from service.core.engine import Engine
from service.dialects import exchange
from service.dialects.exchange import Content
from service.errors import ServiceError
from service.rest import problems, scope
from service.rest.body import from_base64
from service.rest.wire import Failure, server_timing
from twins.render import RENDERERS
from twins.render.renderer import JSON


class Instance(msgspec.Struct, frozen=True):
    """One image."""

    b64: str


class Body(msgspec.Struct, frozen=True):
    """A request. The parameter `model` names a model; without it, the first one that is served answers."""

    instances: list[Instance]
    parameters: dict[str, Any] = {}


class Predictions(msgspec.Struct, frozen=True):
    """The answers in order. An image that failed has an error in its place."""

    predictions: list[msgspec.Raw | Failure]


async def predict(request: Request, engine: Engine) -> Response:
    """Return the answers of a model."""
    with exchange.opened(request, engine) as opened:
        given = exchange.decode(await opened.read_body(), Body)
        options = dict(given.parameters)
        card = engine.card(str(options.pop("model", "")) or engine.served()[0].name)
        images = (from_base64(f"instances[{i}]", each.b64) for i, each in enumerate(given.instances))
        content = Content(tuple(images), options)
        answers = await opened.run(card, RENDERERS[card.task]["json"], content)
        found = Predictions([entry(answer, scope.request_id(request)) for answer in answers])
        return Response(msgspec.json.encode(found), 200, {"Server-Timing": server_timing(answers)}, JSON)


def entry(answer: Answer | ServiceError, request_id: str) -> msgspec.Raw | Failure:
    """Return the answer of one image, or its error."""
    if isinstance(answer, ServiceError):
        return Failure(problems.describe(answer, request_id))
    return msgspec.Raw(answer.result.content)
