"""The routes of the pages. They need no key and load nothing from elsewhere."""

from collections.abc import Awaitable, Callable
from importlib.resources import files
from mimetypes import guess_type

import msgspec
from fastapi import FastAPI, Request
from starlette.responses import Response

from service.core.engine import Engine
from service.rest import scope
from service.rest.accept import choose
from twins import __version__
from twins.render.renderer import JSON

STATIC = files("service.web") / "static"
HTML = "text/html"
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-cache",
    "Vary": "Accept",
}
FOLDERS = ("", "samples/")
SUFFIXES = (".js", ".css", ".svg", ".jpg")
FILES = tuple(
    folder + each.name for folder in FOLDERS for each in (STATIC / folder).iterdir() if each.name.endswith(SUFFIXES)
)
"""The files that the pages need."""


def page(name: str) -> Response:
    """Return a page."""
    return Response((STATIC / name).read_bytes(), headers=HEADERS, media_type=HTML)


LINKS = {
    "service": "twins",
    "version": __version__,
    "models": "/models",
    "docs": "/docs",
    "proto": "/twins.proto",
    "status": "/status",
}
"""The answer of `/` to clients that do not accept HTML."""


def add(app: FastAPI, engine: Engine) -> None:  # noqa: ARG001 - as the routes of all packages are added
    """Add the routes to an application."""

    @app.get("/", include_in_schema=False)
    async def show_index(request: Request) -> Response:
        if choose(scope.fields(request).get("accept", ""), (JSON, HTML)) == HTML:
            return page("index.html")
        return Response(msgspec.json.encode(LINKS), headers={"Vary": "Accept"}, media_type=JSON)

    @app.get("/status", include_in_schema=False)
    async def show_status() -> Response:
        return page("status.html")

    for name in FILES:
        app.add_api_route(f"/static/{name}", serving(name), methods=["GET"], include_in_schema=False)


def serving(name: str) -> Callable[[], Awaitable[Response]]:
    """Return the endpoint of a file."""
    media_type, _ = guess_type(name)

    async def serve() -> Response:
        return Response((STATIC / name).read_bytes(), headers=HEADERS, media_type=media_type)

    return serve
