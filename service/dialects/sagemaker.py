"""SageMaker's interface: `/invocations` takes an image, and `/ping` says whether the service is ready.

The header `X-Amzn-SageMaker-Target-Model` names a model; without it, the first one that is served answers. The answer
is that of our own path of the model's task, in JSON.
"""

from starlette.requests import Request
from starlette.responses import Response

from service.core.engine import Engine
from service.dialects import exchange
from service.dialects.exchange import Content
from service.rest import scope
from twins.render import RENDERERS

TARGET_MODEL = "x-amzn-sagemaker-target-model"
PART = "image"


async def invoke(request: Request, engine: Engine) -> Response:
    """Return the answer of a model."""
    with exchange.opened(request, engine) as opened:
        card = engine.card(scope.fields(request).get(TARGET_MODEL) or engine.served()[0].name)
        content = Content((await opened.read_image(PART),))
        return exchange.one(await opened.run(card, RENDERERS[card.task]["json"], content))
