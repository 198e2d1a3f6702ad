"""The HTTP routes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from importlib.resources import files
from typing import Any, TypeVar

import msgspec
from fastapi import FastAPI, Request
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.responses import Response

from service import metrics
from service.core.call import Answer, Caller, Outcome
from service.core.engine import Engine
from service.errors import Cancelled, Internal, ServiceError
from service.rest import documents, problems, scope
from service.rest.accept import choose
from service.rest.body import check_names, joined, unwrap
from service.rest.endpoints import ENDPOINTS, Endpoint
from service.rest.scope import RequestScope
from service.rest.wire import Failure, ModelList, Readiness, Status, WorkerCount, listed, server_timing
from twins import __version__
from twins.render.renderer import JSON

MARKDOWN = "text/markdown"
DETAILS = {
    404: "the path {path} does not exist; /docs lists the paths",
    405: "the path {path} does not accept {method}; it accepts {allowed}",
}
"""What clients read when no route takes their request, by status."""
PROTO = files("service") / "pb" / "twins" / "v1" / "twins.proto"
"""The source of the gRPC interface, from which clients generate their code."""

Returned = TypeVar("Returned")


def build(engine: Engine) -> FastAPI:
    """Return the application over an engine."""
    app = FastAPIOffline(
        title="Twins", version=__version__, description=documents.DESCRIPTION, redoc_url=None, redirect_slashes=False
    )
    app.add_middleware(RequestScope, engine=engine)
    documents.add(app)
    add_error_handlers(app, engine)
    add_inference(app, engine)
    add_models(app, engine)
    add_operations(app, engine)
    return app


def add_error_handlers(app: FastAPI, engine: Engine) -> None:
    """Answer every error with a problem document."""

    @app.exception_handler(ServiceError)
    async def refuse(request: Request, error: ServiceError) -> Response:
        return problems.respond(error, scope.request_id(request))

    @app.exception_handler(HTTPException)
    async def refuse_for_framework(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        if "Allow" in headers:
            headers["Allow"] = allowed(headers["Allow"])
            if request.method == "OPTIONS":
                engine.refused(caller_of(request, engine), "ok")
                return Response(status_code=204, headers=headers)
        detail = DETAILS.get(error.status_code, "").format(
            path=scope.path(request), method=request.method, allowed=headers.get("Allow")
        )
        problem = problems.describe_status(error.status_code, scope.request_id(request), detail)
        engine.refused(caller_of(request, engine), problem.code)
        return problems.encode(problem, headers)

    @app.exception_handler(Exception)
    async def refuse_unexpected(request: Request, _: Exception) -> Response:
        # This handler runs outside the middleware, so it logs the request and names its id itself.
        caller = replace(caller_of(request, engine), report=None)
        engine.refused(caller, Internal.code)
        problem = problems.describe(Internal("see the server's log under this request's id"), caller.request_id)
        return problems.encode(problem, {"X-Request-ID": caller.request_id})


def allowed(methods: str) -> str:
    """Return the methods of a path for `Allow`: those of its route, OPTIONS, and HEAD where there is GET."""
    routed = {method.strip() for method in methods.split(",")}
    return ", ".join(sorted(routed | {"OPTIONS"} | ({"HEAD"} if "GET" in routed else set())))


def add_inference(app: FastAPI, engine: Engine) -> None:
    """Add an endpoint that runs a model for each task."""
    for name, endpoint in ENDPOINTS.items():
        app.add_api_route(
            f"/{name}",
            route(engine, endpoint),
            methods=["POST"],
            name=name,
            openapi_extra=documents.INFERENCE[name],
            tags=["inference"],
            summary=endpoint.task.summary,
        )


def route(engine: Engine, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    """Return the handler of an endpoint."""

    async def handle(request: Request) -> Response:
        return await infer(request, engine, endpoint)

    return handle


async def infer(request: Request, engine: Engine, endpoint: Endpoint) -> Response:
    """Return the response to a request that runs a model."""
    async with open_call(request, engine) as outcome:
        engine.check_room()  # before the body is read, so that a refusal costs next to nothing
        query = joined(request.query_params.multi_items())
        check_names(query, endpoint.options)
        given = await unwrap(
            request,
            engine.settings,
            endpoint.body,
            deadline=outcome.deadline,
            reserve_bytes=outcome.memory.reserve,
        )
        call = endpoint.call(given, query, ",".join(request.headers.getlist("accept")))
        answers = await cancel_on_disconnect(request, engine.predict(call, outcome))
        return wrap(answers, outcome, several=given.several, request=request)


def wrap(answers: list[Answer | ServiceError], outcome: Outcome, *, several: bool, request: Request) -> Response:
    """Return the response with the answer of one image, or with the list of several in order."""
    request_id = scope.request_id(request)
    headers = {"Server-Timing": server_timing(answers)}
    if several:
        return Response(msgspec.json.encode([entry(a, request_id) for a in answers]), 200, headers, JSON)
    (answer,) = answers
    if isinstance(answer, ServiceError):
        outcome.code = answer.code
        return problems.respond(answer, request_id)
    return Response(answer.result.content, 200, headers, answer.result.media_type)


def entry(answer: Answer | ServiceError, request_id: str) -> msgspec.Raw | Failure:
    """Return one entry of the list."""
    if isinstance(answer, ServiceError):
        return Failure(problems.describe(answer, request_id))
    return msgspec.Raw(answer.result.content)


@asynccontextmanager
async def open_call(request: Request, engine: Engine) -> AsyncIterator[Outcome]:
    """Open a call: its key is checked, its deadline counts from here, and its outcome is recorded at the end."""
    with engine.call(caller_of(request, engine)) as outcome:
        yield outcome


def caller_of(request: Request, engine: Engine) -> Caller:
    """Return the client of a request."""
    return Caller(
        scope.request_id(request),
        "http",
        asyncio.get_running_loop().time(),
        scope.timeout_s(request),
        scope.key(request),
        scope.address(request, engine.trusted_networks),
        scope.path(request),
        report=partial(scope.keep_outcome, request),  # the middleware logs it with the response's status and size
    )


async def cancel_on_disconnect(request: Request, work: Coroutine[Any, Any, Returned]) -> Returned:
    """Return the result of `work`. If the client disconnects first, cancel the work and raise Cancelled."""
    working = asyncio.create_task(work)
    gone = asyncio.create_task(disconnected(request))
    try:
        await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise Cancelled("the client disconnected")
    finally:
        gone.cancel()
        working.cancel()
        with suppress(asyncio.CancelledError, ServiceError):
            await working
        del working  # its exception refers to this frame; such a cycle would keep the images in memory


async def disconnected(request: Request) -> None:
    """Return when the client has disconnected. Its body must have been read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def add_models(app: FastAPI, engine: Engine) -> None:
    """Add the routes that describe the models."""

    @app.get("/models", tags=["models"], summary="List the served models", openapi_extra=documents.MODELS)
    async def list_models(request: Request) -> Response:
        async with open_call(request, engine):
            models = [listed(card) for card in engine.served()]
            return Response(msgspec.json.encode(ModelList(models)), media_type=JSON)

    @app.get("/models/{name}", tags=["models"], summary="Show the card of a model", openapi_extra=documents.MODEL)
    async def show_model(request: Request, name: str) -> Response:
        async with open_call(request, engine):
            card = engine.card(name)
            offers = (JSON, MARKDOWN) if card.document else (JSON,)
            if choose(",".join(request.headers.getlist("accept")), offers) == MARKDOWN:
                return Response(card.document, media_type=MARKDOWN)
            return Response(msgspec.json.encode(card), media_type=JSON)


def add_operations(app: FastAPI, engine: Engine) -> None:
    """Add health, metrics and descriptions of the API, which need no key."""

    @app.get(
        "/livez", tags=["operations"], summary="Check whether the process is alive", openapi_extra=documents.STATUS
    )
    async def live() -> Response:
        return Response(msgspec.json.encode(Status("alive")), media_type=JSON)

    @app.get(
        "/readyz", tags=["operations"], summary="Check whether the service is ready", openapi_extra=documents.READY
    )
    @app.get(
        "/healthz",
        tags=["operations"],
        summary="Check whether the service is ready, like /readyz",
        openapi_extra=documents.READY,
    )
    async def ready() -> Response:
        word = "stopping" if engine.stopping else "ready" if engine.ready else "loading"
        body = Readiness(word, WorkerCount(engine.pool.ready, engine.pool.expected))
        return Response(msgspec.json.encode(body), 200 if engine.ready else 503, media_type=JSON)

    @app.get(
        "/metrics",
        tags=["operations"],
        summary="Read the metrics in the Prometheus format",
        openapi_extra=documents.METRICS,
    )
    async def show_metrics() -> Response:
        text = await asyncio.get_running_loop().run_in_executor(None, metrics.render)
        return Response(text, media_type=metrics.CONTENT_TYPE)

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        links = {
            "service": "twins",
            "version": __version__,
            "models": "/models",
            "docs": "/docs",
            "proto": "/twins.proto",
        }
        return Response(msgspec.json.encode(links), media_type=JSON)

    @app.get("/twins.proto", include_in_schema=False)
    async def show_proto() -> Response:
        return Response(PROTO.read_bytes(), media_type="text/plain")
