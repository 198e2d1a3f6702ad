"""The OpenAPI document, and the page /docs: Swagger UI over it, with files of this service alone."""

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files

import msgspec
from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.staticfiles import StaticFiles
from starlette.responses import Response

from twins.render.renderer import JSON

DOCUMENT = "/openapi.json"
FILES = "/static-offline-docs"  # where Swagger UI is served
SWAGGER = files("fastapi_offline") / "static"  # the package has the files of Swagger UI
SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


def add(app: FastAPI) -> None:
    """Add the document and the page to an application."""
    page = get_swagger_ui_html(
        openapi_url=DOCUMENT,
        title=f"{app.title}: API",
        oauth2_redirect_url=None,
        swagger_js_url=f"{FILES}/swagger-ui-bundle.js",
        swagger_css_url=f"{FILES}/swagger-ui.css",
        swagger_favicon_url=f"{FILES}/favicon.png",
    )
    content = bytes(page.body)
    headers = {"Content-Security-Policy": policy(content), "Cache-Control": "no-cache"}

    @cache  # the framework would encode it for every request, which takes longer than to classify an image
    def document() -> bytes:
        return msgspec.json.encode(app.openapi())

    @app.get(DOCUMENT, include_in_schema=False)
    async def show_document() -> Response:
        return Response(document(), media_type=JSON)

    app.mount(FILES, StaticFiles(directory=str(SWAGGER)))

    @app.get("/docs", include_in_schema=False)
    async def show_docs() -> Response:
        return Response(content, headers=headers, media_type="text/html")


def policy(page: bytes) -> str:
    """Return the policy of the page: its own script by its hash, and nothing from elsewhere."""
    hashes = [base64.b64encode(hashlib.sha256(script).digest()).decode() for script in SCRIPT.findall(page)]
    return "; ".join(
        (
            "default-src 'none'",
            " ".join(("script-src 'self'", *(f"'sha256-{each}'" for each in hashes))),
            "style-src 'self' 'unsafe-inline'",  # Swagger UI sets styles
            "img-src 'self' data: blob:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )
