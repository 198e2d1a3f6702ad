"""The paths of the protocol over HTTP: `/v2` and below. Errors have the form `{"error": …}`, with a stable code."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec
from fastapi import FastAPI, Request
from starlette.responses import Response

from service import metric_page
from service.core.call import Outcome
from service.core.engine import Engine
from service.core.orders import Requested
from service.errors import BadRequest, ServiceError
from service.oip import documents, models, repository, statistics, triton_metrics
from service.oip.forms import Control, Index, Refusal
from service.oip.inference import infer
from service.oip.json_form import LENGTH_HEADER, encode, parse
from service.rest import problems, scope
from service.rest.body import check_encoding, check_length, read
from service.rest.caller import caller_of
from service.rest.openapi.parts import at
from service.rest.peer import PEER
from service.rest.wire import server_timing
from twins.card import Card
from twins.render.renderer import JSON

BINARY = "application/octet-stream"
TAG = "open inference protocol"
MODEL, VERSIONED = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"
UNIMPLEMENTED = {
    "/v2/systemsharedmemory": "this service reads tensors from requests only, not from shared memory",
    "/v2/cudasharedmemory": "this service reads tensors from requests only, not from shared memory",
    "/v2/trace": "this service has no settings for traces",
    "/v2/logging": "the log is configured when the service starts",
}
"""The beginnings of paths that this service does not have, with the reason."""

Handler = Callable[[Request, Engine], Awaitable[Response]]


def add(app: FastAPI, engine: Engine) -> None:
    """Add all paths to an application."""
    if engine.settings.triton_metrics:
        app.state.metrics.append(render_triton_metrics)
    app.state.schemas.update(documents.SCHEMAS)
    for method, paths, handler, summary in ROUTES:
        for path in paths:
            extra = at(path, DESCRIBED[handler], documents.PARAMETERS)
            endpoint = bound(handler, engine)
            app.add_api_route(path, endpoint, methods=[method], summary=summary, tags=[TAG], openapi_extra=extra)
    app.add_api_route(
        "/v2/{path:path}", bound(unknown, engine), methods=["GET", "POST", "PUT", "DELETE"], include_in_schema=False
    )


def render_triton_metrics(*, openmetrics: bool) -> bytes:
    """Return the metrics in Triton's names."""
    return triton_metrics.render(metric_page.read(), openmetrics=openmetrics).encode()


def bound(handler: Handler, engine: Engine) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of a handler, which answers errors in the form of the protocol."""

    async def endpoint(request: Request) -> Response:
        try:
            return await handler(request, engine)
        except ServiceError as error:
            return refusal(error, scope.request_id(request))

    return endpoint


def refusal(error: ServiceError, request_id: str) -> Response:
    """Return an error as a response."""
    return respond(Refusal(error.detail, error.code, request_id), problems.status(error), problems.headers(error))


def respond(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a document as a response in JSON."""
    return Response(msgspec.json.encode(document), status, headers, JSON)


# ---------------------------------------------------------------------- server


async def show_server(request: Request, engine: Engine) -> Response:  # noqa: ARG001
    """Return the name, version and extensions of the server."""
    return respond(models.SERVER)


async def show_live(request: Request, engine: Engine) -> Response:  # noqa: ARG001
    """Return that the process is alive."""
    return respond({"live": True})


async def show_ready(request: Request, engine: Engine) -> Response:  # noqa: ARG001
    """Return whether the service is ready: 200 or 503."""
    return respond({"ready": engine.ready}, 200 if engine.ready else 503)


# ---------------------------------------------------------------------- models


async def show_index(request: Request, engine: Engine) -> Response:
    """Return all models and their states."""
    with engine.call(caller_of(request, engine), "models") as outcome:
        wanted = await parameters(request, engine, outcome, Index)
        return respond(await repository.index(engine, ready=wanted.ready))


async def list_models(request: Request, engine: Engine) -> Response:
    """Return the names of the models, as KServe lists them."""
    with engine.call(caller_of(request, engine), "models"):
        return respond({"models": list(dict.fromkeys(card.name for card in engine.served()))})


async def show_model(request: Request, engine: Engine) -> Response:
    """Return the inputs and outputs of a model."""
    with engine.call(caller_of(request, engine), "models"):
        return respond(models.metadata(named(request, engine), engine.served()))


async def show_model_ready(request: Request, engine: Engine) -> Response:
    """Return whether a model is ready: 200 or 503."""
    with engine.call(caller_of(request, engine), "models"):
        card = named(request, engine)
        return respond({"name": card.name, "ready": engine.ready}, 200 if engine.ready else 503)


async def show_configuration(request: Request, engine: Engine) -> Response:
    """Return the configuration of a model."""
    with engine.call(caller_of(request, engine), "models"):
        return respond(models.configuration(named(request, engine), engine.settings))


async def show_statistics(request: Request, engine: Engine) -> Response:
    """Return what one model, or each, has done since the start."""
    with engine.call(caller_of(request, engine), "models"):
        cards = [named(request, engine)] if "model" in request.path_params else engine.served()
        return respond(await asyncio.to_thread(statistics.of_models, [card.key for card in cards]))


def named(request: Request, engine: Engine) -> Card:
    """Return the card of the model in the path. Raise UnknownModel."""
    return engine.version(request.path_params["model"], request.path_params.get("version", ""))


# ---------------------------------------------------------------------- model control


Body = TypeVar("Body", Index, Control)


async def load_model(request: Request, engine: Engine) -> Response:
    """Load a model."""
    order = Requested("load", request.path_params["model"])
    with engine.call(caller_of(request, engine), "control", order) as outcome:
        body = await parameters(request, engine, outcome, Control)
        await repository.load(engine, outcome, request.path_params["model"], body.parameters)
        return respond({})


async def unload_model(request: Request, engine: Engine) -> Response:
    """Unload a model."""
    order = Requested("unload", request.path_params["model"])
    with engine.call(caller_of(request, engine), "control", order) as outcome:
        body = await parameters(request, engine, outcome, Control)
        await repository.unload(engine, outcome, request.path_params["model"], body.parameters)
        return respond({})


async def parameters(request: Request, engine: Engine, outcome: Outcome, form: type[Body]) -> Body:
    """Return the body of a request in JSON, which may be empty. Raise ServiceError."""
    headers = scope.fields(request)
    check_encoding(headers)
    check_length(headers, engine.settings.max_body_bytes)
    body = await read(request, engine.settings.max_body_bytes, outcome.deadline, outcome.memory.reserve)
    try:
        return msgspec.json.decode(body or b"{}", type=form)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the JSON body: {error}") from error


# ---------------------------------------------------------------------- inference


async def run(request: Request, engine: Engine) -> Response:
    """Return the answer of a model."""
    with engine.call(caller_of(request, engine), "infer") as outcome:
        await engine.check_room(outcome)  # before the body is read, so that a refusal costs next to nothing
        headers = scope.fields(request)
        check_encoding(headers)
        check_length(headers, engine.settings.max_body_bytes)
        body = await read(request, engine.settings.max_body_bytes, outcome.deadline, outcome.memory.reserve)
        outcome.memory.reserve(len(body))  # for the tensors in it
        path, length = request.path_params, headers.get(LENGTH_HEADER.lower())
        given, wanted = await asyncio.to_thread(parse, path["model"], path.get("version", ""), body, length)
        with request.scope["state"][PEER].waits():
            response = await infer(engine, given, outcome)
        content, size = await asyncio.to_thread(encode, response, wanted)
        outcome.memory.count(len(content))
        sent = {"Server-Timing": server_timing(list(response.answers))}
        if size is None:
            return Response(content, 200, sent, JSON)
        return Response(content, 200, {**sent, LENGTH_HEADER: str(size)}, BINARY)


async def unknown(request: Request, engine: Engine) -> Response:
    """Refuse a path or a method that the service does not have."""
    path = request.scope["path"]
    for start, reason in UNIMPLEMENTED.items():
        if path.startswith(start):
            engine.refused(caller_of(request, engine), "not_implemented")
            return respond(Refusal(reason, "not_implemented", scope.request_id(request)), 501)
    engine.refused(caller_of(request, engine), "not_found")
    detail = f"{request.method} {path[:100]} does not exist; /docs lists the paths"
    return respond(Refusal(detail, "not_found", scope.request_id(request)), 404)


def of_model(suffix: str) -> tuple[str, str]:
    """Return the paths of a model, without and with a version."""
    return MODEL + suffix, VERSIONED + suffix


ROUTES: tuple[tuple[str, tuple[str, ...], Handler, str], ...] = (
    ("GET", ("/v2",), show_server, "Show the server's name, version and extensions"),
    ("GET", ("/v2/health/live",), show_live, "Check whether the process is alive"),
    ("GET", ("/v2/health/ready",), show_ready, "Check whether the service is ready"),
    ("GET", ("/v2/models",), list_models, "List the names of the models"),
    ("GET", ("/v2/models/stats", *of_model("/stats")), show_statistics, "Show what models have done"),
    ("POST", ("/v2/repository/index",), show_index, "List the models and their states"),
    ("POST", ("/v2/repository/models/{model}/load",), load_model, "Load a model, if the service allows it"),
    ("POST", ("/v2/repository/models/{model}/unload",), unload_model, "Unload a model, if the service allows it"),
    ("GET", of_model("/ready"), show_model_ready, "Check whether a model is ready"),
    ("GET", of_model("/config"), show_configuration, "Show the configuration of a model"),
    ("POST", of_model("/infer"), run, "Run a model on tensors"),
    ("GET", of_model(""), show_model, "Show the inputs and outputs of a model"),
)
"""The method, paths, handler and summary of each route, in the order in which they are tried."""

DESCRIBED: Mapping[Handler, dict[str, Any]] = {
    show_server: documents.SERVER,
    show_live: documents.LIVE,
    show_ready: documents.READY,
    list_models: documents.NAMES,
    show_statistics: documents.STATISTICS,
    show_index: documents.INDEX,
    load_model: documents.LOAD,
    unload_model: documents.UNLOAD,
    show_model_ready: documents.MODEL_READY,
    show_configuration: documents.CONFIGURATION,
    run: documents.INFER,
    show_model: documents.METADATA,
}
"""The description of each handler's operation."""
