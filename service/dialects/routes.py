"""The paths of the interfaces of other servers."""

from collections.abc import Awaitable, Callable, Iterator

import msgspec
from fastapi import FastAPI, Request
from starlette.responses import Response

from service.core.engine import Engine
from service.dialects import documents, huggingface, sagemaker, torchserve, vertex
from service.errors import ServiceError
from service.rest import problems, scope
from service.rest.openapi.parts import at
from service.settings import Settings

Handler = Callable[[Request, Engine], Awaitable[Response]]

TAG = "other servers"
ROUTES: tuple[tuple[str, str, Handler, str], ...] = (
    ("POST", "/", huggingface.answer, "Run the first model, as Hugging Face's client asks for it"),
    ("POST", "/models/{model}", huggingface.answer, "Run a model, as Hugging Face's client asks for it"),
    ("POST", "/pipeline/{task}", huggingface.answer, "Run the first model of one of Hugging Face's tasks"),
    ("POST", "/models/{model}/pipeline/{task}", huggingface.answer, "Run a model for one of Hugging Face's tasks"),
    ("POST", "/predictions/{model}", torchserve.predict, "Run a model, as TorchServe's clients ask for it"),
    (
        "POST",
        "/predictions/{model}/{version}",
        torchserve.predict,
        "Run a version of a model, as TorchServe's clients do",
    ),
    ("GET", "/ping", torchserve.ping, "Check whether the service is ready, for TorchServe's clients and SageMaker"),
    ("POST", "/invocations", sagemaker.invoke, "Run a model, as SageMaker asks for it"),
)
"""The method, path, handler and summary of each route."""


def add(app: FastAPI, engine: Engine) -> None:
    """Add all paths to an application."""
    app.state.schemas.update(documents.SCHEMAS)
    for method, path, handler, summary in (*ROUTES, *configured(engine.settings)):
        extra = at(path, documents.OPERATIONS[handler], documents.PARAMETERS)
        endpoint = bound(handler, engine)
        app.add_api_route(path, endpoint, methods=[method], summary=summary, tags=[TAG], openapi_extra=extra)


def configured(settings: Settings) -> Iterator[tuple[str, str, Handler, str]]:
    """Yield the routes whose paths are settings."""
    if settings.predict_route:
        yield "POST", settings.predict_route, vertex.predict, "Run a model, as Vertex AI asks for it"
    if settings.health_route:
        yield "GET", settings.health_route, torchserve.ping, "Check whether the service is ready"


def bound(handler: Handler, engine: Engine) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of a handler. Its errors also have the member `error`, which Hugging Face's client shows."""

    async def endpoint(request: Request) -> Response:
        try:
            return await handler(request, engine)
        except ServiceError as error:
            problem = problems.describe(error, scope.request_id(request))
            return problems.encode(msgspec.structs.replace(problem, error=problem.detail), problems.headers(error))

    return endpoint
