"""Serves the pages for a browser: the chat, the documentation, and the files they are made of.

Does not know what is on the pages. Nothing here needs a key, and nothing here tells what a key would protect.
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

# The pages load nothing from elsewhere, so that they work offline and nobody else learns who reads them. No
# inline script or style is allowed either: a model's text that got into a page as markup could do nothing.
PAGE_HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            # The one library that makes markup of text does so after it was cleaned; nothing else can.
            "require-trusted-types-for 'script'",
            "trusted-types dompurify",
        )
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
}

# Said here, because Python asks the machine, which may say anything, and browsers refuse a script of a wrong
# type.
# What is not listed is not served: an editor's backup, say.
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

NAMELESS = "MODEL"
"""Stands in the examples for a name from `/v1/models`."""


def page_routes(services: Services) -> Blueprint:
    """`/`, `/docs`, `/openapi.json` and `/static/…`."""
    routes = Blueprint("pages", __name__)
    files = _Files(static_folder())

    @cache
    def document() -> bytes:
        """Made when it is first asked for: the start must not wait for it."""
        return orjson.dumps(
            openapi_document(
                version=installed_version(),
                # A model's name is for those who may list the models.
                model=NAMELESS if services.keys else services.models[0],
                keys_required=bool(services.keys),
                public_metrics=services.settings.public_metrics,
            )
        )

    @routes.get("/")
    async def index() -> Response:
        """The chat."""
        return await files.answer("index.html")

    @routes.get("/docs")
    async def docs() -> Response:
        """The page that shows `/openapi.json`."""
        return await files.answer("docs.html")

    @routes.get("/openapi.json")
    async def openapi() -> Response:
        """The OpenAPI document of this server."""
        return await _checked(json_response(document()))

    @routes.get("/static/<path:name>")
    async def static(name: str) -> Response:
        """A file of the pages."""
        return await files.answer(name)

    @routes.after_request
    async def add_headers(response: Response) -> Response:
        response.headers.update(PAGE_HEADERS)
        # A file's name does not change with its content, so a browser must ask each time; mostly for a 304.
        response.headers["Cache-Control"] = "no-cache" if response.status_code < 400 else "no-store"
        return response

    return routes


def static_folder() -> Path:
    """Where the pages' files are: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "static"
    return inside if inside.is_dir() else package.parent / "static"


class _Files:
    """The files of one folder. What compresses well is compressed once, and kept until the file changes.

    Streams are never compressed: a token's length would show in that of its chunk.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._compressed: dict[str, tuple[str, bytes]] = {}

    async def answer(self, name: str) -> Response:
        suffix = Path(name).suffix
        media_type = MEDIA_TYPES.get(suffix)
        # Hidden files are nobody's page; and on Windows a backslash would be a folder's end.
        if media_type is None or "\\" in name or "\0" in name or any(part.startswith(".") for part in name.split("/")):
            abort(404)
        response = await send_from_directory(
            self._folder, name, mimetype=media_type, add_etags=False, conditional=False
        )
        # Quart's ETag is made of time and size, and a wheel's files all have one time: after an update of equal
        # size a browser would keep the old file for ever.
        response.headers.pop("Last-Modified", None)
        response.headers.pop("Expires", None)
        if suffix in COMPRESSED:
            await self._compress(name, response)
        return await _checked(response)

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


async def _checked(response: Response) -> Response:
    """With an ETag of the content, and without the content for who has it (RFC 9110, section 13.1.2)."""
    body = await response.get_data(as_text=False)
    response.set_etag(hashlib.sha256(body).hexdigest()[:32])
    return await response.make_conditional(request)
