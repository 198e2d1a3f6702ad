"""The routes that run a model: from a request to its response.

They are on the way of every image, so their requests do not pass the framework's routing. It describes them in the
OpenAPI document, and refuses other methods.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.core.call import Answer, Outcome
from service.core.engine import Engine
from service.errors import ServiceError
from service.rest import problems, scope
from service.rest.body import check_names, joined, unwrap
from service.rest.caller import caller_of
from service.rest.endpoints import ENDPOINTS, Endpoint
from service.rest.peer import PEER
from service.rest.wire import Failure, server_timing
from twins.render.renderer import JSON


@dataclass(frozen=True)
class InferenceRoute:
    """The route of an endpoint."""

    path: str
    endpoint: Endpoint
    engine: Engine

    async def __call__(self, request: Request) -> Response:
        """Return the response to a request, which may be an error."""
        request.scope["route"] = self  # for the path in the log
        try:
            return await infer(request, self.engine, self.endpoint)
        except ServiceError as error:
            return problems.respond(error, scope.request_id(request))


def routes(engine: Engine) -> Mapping[str, InferenceRoute]:
    """Return the route of each task, by its path."""
    return {f"/{name}": InferenceRoute(f"/{name}", endpoint, engine) for name, endpoint in ENDPOINTS.items()}


class InferenceRoutes:
    """Middleware that answers the requests to these routes, and passes on all others."""

    def __init__(self, app: ASGIApp, by_path: Mapping[str, InferenceRoute]) -> None:
        self.app, self.by_path = app, by_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an ASGI request."""
        if scope["type"] == "http" and scope["method"] == "POST" and (route := self.by_path.get(scope["path"])):
            response = await route(Request(scope, receive, send))
            await response(scope, receive, send)
        else:
            await self.app(scope, receive, send)


async def infer(request: Request, engine: Engine, endpoint: Endpoint) -> Response:
    """Return the response to a request that runs a model. Raises ServiceError."""
    with engine.call(caller_of(request, engine), "infer") as outcome:
        await engine.check_room(outcome)  # before the body is read, so that a refusal costs next to nothing
        query = joined(request.query_params.multi_items())
        check_names(query, endpoint.options)
        given = await unwrap(
            request,
            engine.settings,
            endpoint.body,
            deadline=outcome.deadline,
            reserve_bytes=outcome.memory.reserve,
        )
        call = endpoint.call(given, query, scope.fields(request).get("accept", ""))
        with request.scope["state"][PEER].waits():
            answers = await engine.predict(call, outcome)
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
