"""Serves the pages for a browser: the chat, the API reference, and their files.

None of this needs a key, so none of it may reveal what a key protects.
"""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from pathlib import Path

import orjson
from quart import Blueprint, Response, abort, request, send_from_directory

from app.openapi.document import openapi_document
from app.routes.http import json_response
from app.services import Services
from app.version import installed_version

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "dompurify",
}
"""The Content Security Policy.

The pages load nothing from elsewhere: they work offline, and no other host learns who reads them. Inline scripts and
styles are forbidden, and only DOMPurify may turn text into markup, so a model's text cannot run as a script.
"""

# Swagger UI brings a DOMPurify of its own, and writes its output as a string, which the default policy in
# `static/docs.js` sanitizes again.
DOCS_POLICY = POLICY | {"trusted-types": "dompurify default 'allow-duplicates'"}

PAGE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
}

# Python would ask the machine, whose answer may be wrong, and browsers refuse a script of a wrong type. Files with
# other endings, such as an editor's backups, are not served.
MEDIA_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".ico": "image/x-icon",
    ".js": "text/javascript",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}

COMPRESSED = frozenset({".css", ".html", ".js", ".json", ".svg"})
MIN_COMPRESSED_BYTES = 1024

PLACEHOLDER_MODEL = "MODEL"
"""The model's name in the examples of a server whose list of models needs a key."""


def page_routes(services: Services) -> Blueprint:
    """`/`, `/docs`, `/openapi.json` and `/static/…`."""
    routes = Blueprint("pages", __name__)
    files = _Files(static_folder())

    @cache
    def document() -> bytes:
        """Made on the first request, so that the server starts sooner."""
        return orjson.dumps(
            openapi_document(
                version=installed_version(),
                model=PLACEHOLDER_MODEL if services.keys else services.models.names[0],
                keys_required=bool(services.keys),
                public_metrics=services.settings.access.public_metrics,
                apis=services.apis,
            )
        )

    @routes.get("/")
    async def index() -> Response:
        """The chat."""
        return await files.answer("index.html")

    @routes.get("/docs")
    async def docs() -> Response:
        """The API reference: `/openapi.json` in Swagger UI."""
        return await files.answer("docs.html")

    @routes.get("/openapi.json")
    async def openapi() -> Response:
        """The OpenAPI document of this server."""
        return await _with_etag(json_response(document()))

    @routes.get("/static/<path:name>")
    async def static(name: str) -> Response:
        """One of the pages' files."""
        return await files.answer(name)

    @routes.after_request
    async def add_headers(response: Response) -> Response:
        response.headers.update(PAGE_HEADERS)
        policy = DOCS_POLICY if request.endpoint == "pages.docs" else POLICY
        response.headers["Content-Security-Policy"] = "; ".join(f"{name} {value}" for name, value in policy.items())
        # A file keeps its name when its content changes, so a browser has to revalidate it; the answer is mostly 304.
        response.headers["Cache-Control"] = "no-cache" if response.status_code < 400 else "no-store"
        return response

    return routes


def static_folder() -> Path:
    """The folder of the pages' files: in the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "static"
    return inside if inside.is_dir() else package.parent / "static"


class _Files:
    """The files of one folder, each compressed once until it changes.

    Streams are never compressed: the size of a chunk would reveal the length of its token.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._compressed: dict[str, tuple[str, bytes]] = {}

    async def answer(self, name: str) -> Response:
        suffix = Path(name).suffix
        media_type = MEDIA_TYPES.get(suffix)
        # No hidden files; and on Windows a backslash separates folders.
        if media_type is None or "\\" in name or "\0" in name or any(part.startswith(".") for part in name.split("/")):
            abort(404)
        response = await send_from_directory(
            self._folder, name, mimetype=media_type, add_etags=False, conditional=False
        )
        # Quart makes its ETag of time and size, and all files of a wheel have the same time: a browser would keep the
        # old file after an update of equal size.
        response.headers.pop("Last-Modified", None)
        response.headers.pop("Expires", None)
        if suffix in COMPRESSED:
            await self._compress(name, response)
        return await _with_etag(response)

    async def _compress(self, name: str, response: Response) -> None:
        response.vary.add("Accept-Encoding")
        body = await response.get_data(as_text=False)
        if len(body) < MIN_COMPRESSED_BYTES or not request.accept_encodings["gzip"]:
            return
        digest = hashlib.sha256(body).hexdigest()
        known, packed = self._compressed.get(name, ("", b""))
        if known != digest:
            packed = gzip.compress(body, mtime=0)
            self._compressed[name] = (digest, packed)
        response.set_data(packed)
        response.headers["Content-Encoding"] = "gzip"


async def _with_etag(response: Response) -> Response:
    """Add an ETag of the content; answer 304 to a client that has it (RFC 9110, section 13.1.2)."""
    body = await response.get_data(as_text=False)
    response.set_etag(hashlib.sha256(body).hexdigest()[:32])
    return await response.make_conditional(request)
