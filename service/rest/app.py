"""The HTTP routes."""

import asyncio
from dataclasses import replace
from importlib.resources import files

import msgspec
from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from service import metric_page
from service.core.engine import Engine
from service.errors import Internal, ServiceError, Unavailable
from service.rest import docs_page, inference, problems, protection, scope
from service.rest.accept import choose
from service.rest.caller import caller_of
from service.rest.openapi import document, operations
from service.rest.openapi.inference import INFERENCE
from service.rest.scope import RequestScope
from service.rest.wire import ModelList, Readiness, Status, WorkerCount, listed
from twins import __version__
from twins.render.renderer import JSON

MARKDOWN, TEXT = "text/markdown", "text/plain"
DETAILS = {
    404: "the path {path} does not exist; /docs lists the paths",
    405: "the path {path} does not accept {method}; it accepts {allowed}",
}
"""What clients read when no route takes their request, by status."""
EXPOSED = ["X-Request-ID", "Server-Timing", "Retry-After", "traceresponse", "Inference-Header-Content-Length"]
"""The headers of responses that pages of other origins may read."""
PROTO = files("service") / "pb" / "twins" / "v1" / "twins.proto"
"""The source of the gRPC interface, from which clients generate their code."""


def build(engine: Engine) -> FastAPI:
    """Return the application over an engine."""
    app = FastAPI(
        openapi_url=None,  # see `docs_page`
        docs_url=None,
        redoc_url=None,
        title="Twins",
        version=__version__,
        description=document.DESCRIPTION,
        redirect_slashes=False,
    )
    app.state.metrics = [metric_page.render]  # each returns a part of /metrics, in OpenMetrics if asked for
    document.add(app)
    add_error_handlers(app, engine)
    add_inference(app, engine)
    if engine.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=engine.settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=EXPOSED,
        )
    app.add_middleware(RequestScope, engine=engine)  # around all others
    add_models(app, engine)
    add_operations(app, engine)
    docs_page.add(app)
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
        # This handler runs outside the middleware, so it logs the request and adds the headers itself.
        caller = replace(caller_of(request, engine), report=None)
        engine.refused(caller, Internal.code)
        problem = problems.describe(Internal("see the server's log under this request's id"), caller.request_id)
        return protection.protect(problems.encode(problem, {"X-Request-ID": caller.request_id}))


def allowed(methods: str) -> str:
    """Return the methods of a path for `Allow`: those of its route, OPTIONS, and HEAD where there is GET."""
    routed = {method.strip() for method in methods.split(",")}
    return ", ".join(sorted(routed | {"OPTIONS"} | ({"HEAD"} if "GET" in routed else set())))


def add_inference(app: FastAPI, engine: Engine) -> None:
    """Add an endpoint that runs a model for each task."""
    by_path = inference.routes(engine)
    app.add_middleware(inference.InferenceRoutes, by_path=by_path)
    for path, route in by_path.items():
        name = route.endpoint.task.name
        app.add_api_route(
            path,
            route.__call__,
            methods=["POST"],
            name=name,
            openapi_extra=INFERENCE[name],
            tags=["inference"],
            summary=route.endpoint.task.summary,
        )


def add_models(app: FastAPI, engine: Engine) -> None:
    """Add the routes that describe the models."""

    @app.get("/models", tags=["models"], summary="List the served models", openapi_extra=operations.MODELS)
    async def list_models(request: Request) -> Response:
        with engine.call(caller_of(request, engine), "models"):
            models = [listed(card) for card in engine.served()]
            return Response(msgspec.json.encode(ModelList(models)), media_type=JSON)

    @app.get("/models/{name}", tags=["models"], summary="Show the card of a model", openapi_extra=operations.MODEL)
    async def show_model(request: Request, name: str) -> Response:
        with engine.call(caller_of(request, engine), "models"):
            card = engine.card(name)
            offers = (JSON, MARKDOWN) if card.document else (JSON,)
            if choose(scope.fields(request).get("accept", ""), offers) == MARKDOWN:
                return Response(card.document, media_type=MARKDOWN)
            return Response(msgspec.json.encode(card), media_type=JSON)


def add_operations(app: FastAPI, engine: Engine) -> None:
    """Add health, metrics and descriptions of the API, which need no key."""

    @app.get(
        "/livez", tags=["operations"], summary="Check whether the process is alive", openapi_extra=operations.STATUS
    )
    async def live() -> Response:
        return Response(msgspec.json.encode(Status("alive")), media_type=JSON)

    @app.get(
        "/readyz", tags=["operations"], summary="Check whether the service is ready", openapi_extra=operations.READY
    )
    @app.get(
        "/healthz",
        tags=["operations"],
        summary="Check whether the service is ready, like /readyz",
        openapi_extra=operations.READY,
    )
    async def ready() -> Response:
        problems = dict(engine.pool.problems)
        waiting = "failing" if problems else "loading"
        word = "stopping" if engine.stopping else "ready" if engine.ready else waiting
        body = Readiness(word, WorkerCount(engine.pool.ready, engine.pool.expected), problems)
        return Response(msgspec.json.encode(body), 200 if engine.ready else 503, media_type=JSON)

    @app.get(
        "/metrics",
        tags=["operations"],
        summary="Read the metrics in the Prometheus format",
        openapi_extra=operations.METRICS,
    )
    async def show_metrics(request: Request) -> Response:
        if engine.settings.protect_metrics:
            with engine.admit(caller_of(request, engine), "metrics"):
                pass  # what is answered is not counted, as without protection
        form = choose(scope.fields(request).get("accept", ""), list(metric_page.CONTENT_TYPES)) or TEXT
        openmetrics = form == metric_page.OPENMETRICS
        try:
            parts = [await asyncio.to_thread(render, openmetrics=openmetrics) for render in app.state.metrics]
        except metric_page.FolderMissing as error:
            raise Unavailable("the metrics are being restored", retry_after_s=1) from error
        return Response(
            b"".join((*parts, metric_page.END if openmetrics else b"")),
            headers={"Vary": "Accept"},
            media_type=metric_page.CONTENT_TYPES[form],
        )

    @app.get("/twins.proto", include_in_schema=False)
    async def show_proto() -> Response:
        return Response(PROTO.read_bytes(), media_type="text/plain")
