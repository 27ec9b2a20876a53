"""Serves the pages for a browser: the chat, the API reference, and their files.

None of this needs a key, so none of it may reveal what a key protects.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import orjson
from quart import Blueprint, Response, request

from app.openapi.document import openapi_document
from app.routes.page_files import REVALIDATED, PageFiles, with_etag
from app.routes.shared.http import json_response
from app.services import Services
from app.version import installed_version

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "frame-src": "'self'",
    "manifest-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "dompurify twowire",
}
"""The Content Security Policy.

The pages load nothing from elsewhere: they work offline, and no other host learns who reads them. Inline scripts and
styles are forbidden, and only DOMPurify may turn text into markup, so a model's text cannot run as a script. The
Trusted Types policy `twowire` only allows the service worker's URL.
"""

# Swagger UI brings a DOMPurify of its own, and writes its output as a string, which the default policy in
# `static/docs.js` sanitizes again.
DOCS_POLICY = POLICY | {"trusted-types": "dompurify default 'allow-duplicates'"}

DIAGRAM = "diagram/frame.html"
DIAGRAM_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    # Mermaid writes a style sheet into each drawing.
    "style-src": "'unsafe-inline'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "sandbox": "allow-scripts",
}
"""The policy of the frame in which the chat draws a diagram.

Its origin is opaque, so a diagram reaches neither the chat nor its storage, and it can load nothing and send nothing.
"""

DIAGRAM_SCRIPTS = ("diagram/frame.js", "vendor/mermaid.js")
"""What a frame with an opaque origin has to load."""

FILE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
PAGE_HEADERS = FILE_HEADERS | {
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
}

PARTS = frozenset({"text/javascript", "text/css", "font/woff2"})
"""What is only part of a page, whose policy holds for it. The chat has 70 of them, so their headers count."""

PART_POLICY = {"default-src": "'none'", "frame-ancestors": "'none'"}
"""For one that is opened by itself."""

PLACEHOLDER_MODEL = "MODEL"
"""The model's name in the examples of a server whose list of models needs a key."""


def page_routes(services: Services) -> Blueprint:
    """`/`, `/docs`, `/openapi.json`, `/static/…`, and the files that make the chat installable."""
    routes = Blueprint("pages", __name__)
    files = PageFiles(static_folder())
    embedders = " ".join(services.settings.access.frame_ancestors)

    @cache
    def document() -> bytes:
        """Made on the first request, so that the server starts sooner."""
        return _openapi_json(services)

    @routes.get("/")
    async def index() -> Response:
        """The chat."""
        return await files.rendered("index.html")

    @routes.get("/docs")
    async def docs() -> Response:
        """The API reference: `/openapi.json` in Swagger UI."""
        return await files.rendered("docs.html")

    @routes.get("/openapi.json")
    async def openapi() -> Response:
        """The OpenAPI document of this server."""
        return await with_etag(json_response(document()))

    @routes.get("/static/<path:name>")
    async def static(name: str) -> Response:
        """One of the pages' files."""
        return await files.file(name)

    @routes.get("/manifest.webmanifest")
    async def manifest() -> Response:
        """The name and icon of the installed chat."""
        return await files.rendered("manifest.webmanifest")

    # At the root, since a service worker only sees the pages below its own address.
    @routes.get("/service-worker.js")
    async def service_worker() -> Response:
        """Opens the chat without a network."""
        return await files.rendered("service-worker.js")

    @routes.after_request
    async def add_headers(response: Response) -> Response:
        if request.path.endswith(DIAGRAM):
            # Only the chat shows it, which may be in a frame itself.
            return _with_headers(response, DIAGRAM_POLICY | {"frame-ancestors": f"'self' {embedders}".strip()})
        if request.endpoint == "pages.static" and response.mimetype in PARTS:
            response = _with_headers(response, PART_POLICY, FILE_HEADERS)
            if request.path.endswith(DIAGRAM_SCRIPTS):
                response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
            return response
        policy = DOCS_POLICY if request.endpoint == "pages.docs" else POLICY
        return _with_headers(response, policy | {"frame-ancestors": embedders or "'none'"})

    return routes


def _openapi_json(services: Services) -> bytes:
    return orjson.dumps(
        openapi_document(
            version=installed_version(),
            model=PLACEHOLDER_MODEL if services.keys else services.models.names[0],
            keys_required=bool(services.keys),
            public_metrics=services.settings.access.public_metrics,
            apis=services.apis,
        )
    )


def _with_headers(response: Response, policy: Mapping[str, str], headers: Mapping[str, str] = PAGE_HEADERS) -> Response:
    response.headers.update(headers)
    response.headers["Content-Security-Policy"] = "; ".join(f"{name} {value}" for name, value in policy.items())
    if response.status_code >= 400:
        response.headers["Cache-Control"] = "no-store"
    else:
        # Most keep their name when their content changes, so a browser has to revalidate them.
        response.headers.setdefault("Cache-Control", REVALIDATED)
    return response


def static_folder() -> Path:
    """The folder of the pages' files: in the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "static"
    return inside if inside.is_dir() else package.parent / "static"
