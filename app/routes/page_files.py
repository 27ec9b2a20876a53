"""The pages' files: which are served, how they are compressed, and their permanent URLs.

A file's URL may contain a digest of the whole folder, `/static/DIGEST/…`. Browsers then keep it for good, since other
content has another URL. Imports between scripts are relative, so they stay below the same digest, and only the HTML has
to be rewritten.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from pathlib import Path

from quart import Response, abort, request, send_from_directory

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
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}

COMPRESSED = frozenset({".css", ".html", ".js", ".json", ".svg", ".webmanifest"})
MIN_COMPRESSED_BYTES = 1024
REVALIDATED = "no-cache"
IMMUTABLE = "public, max-age=31536000, immutable"

_DIGEST = re.compile(r"(?P<digest>[0-9a-f]{16})/(?P<name>.+)")
_IMPORT = re.compile(r'^(?:import|export)\b[^;"]*?"(?P<path>\.{1,2}/[^"]+)";', re.MULTILINE)
_SCRIPT = re.compile(r'<script type="module" src="static/(?P<name>[^"]+)"></script>')
_PRELOAD = re.compile(r'^ *<link rel="(?:module)?preload" [^>]*href="static/(?P<name>[^"]+)"[^>]*>\n', re.MULTILINE)


class PageFiles:
    """The files of one folder, compressed once per change.

    Streams are never compressed: the size of a chunk would reveal the length of its token.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._compressed: dict[str, tuple[str, bytes]] = {}
        self._state: frozenset[tuple[str, int, int]] = frozenset()
        self._digest = ""
        self._graphs: dict[str, tuple[str, ...]] = {}

    def digest(self) -> str:
        """A digest of all files, computed again when a size or a time has changed."""
        state = frozenset((name, path.stat().st_mtime_ns, path.stat().st_size) for name, path in self._served())
        if state != self._state:
            total = hashlib.sha256()
            for name, path in sorted(self._served()):
                total.update(f"{name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
            self._state, self._digest, self._graphs = state, total.hexdigest()[:16], {}
        return self._digest

    def _served(self) -> list[tuple[str, Path]]:
        paths = [path for path in self._folder.rglob("*") if path.suffix in MEDIA_TYPES and path.is_file()]
        return [(path.relative_to(self._folder).as_posix(), path) for path in paths]

    async def file(self, name: str) -> Response:
        """A file by its name, with or without a digest before it. Aborts with 404 if it does not exist."""
        match = _DIGEST.fullmatch(name)
        if match is None:
            return await self._answer(name)
        response = await self._answer(match["name"])
        # A page of another version still gets its files while the server is updated, but must not keep them.
        if match["digest"] == (self._digest or self.digest()):
            response.headers["Cache-Control"] = IMMUTABLE
        return response

    async def _answer(self, name: str) -> Response:
        suffix = Path(name).suffix
        media_type = MEDIA_TYPES.get(suffix)
        # No hidden files, and no backslash, which separates folders on Windows.
        if media_type is None or "\\" in name or "\0" in name or any(part.startswith(".") for part in name.split("/")):
            abort(404)
        response = await send_from_directory(
            self._folder, name, mimetype=media_type, add_etags=False, conditional=False
        )
        # Quart makes its ETag of time and size, and all files of a wheel have the same time: a browser would keep the
        # old file after an update of equal size.
        response.headers.pop("Last-Modified", None)
        response.headers.pop("Expires", None)
        return await self._finish(name, response)

    async def rendered(self, name: str) -> Response:
        """A page or script with permanent URLs, and a list of what the page loads first."""
        response = Response(self._with_digest(name), mimetype=MEDIA_TYPES[Path(name).suffix])
        return await self._finish(name, response)

    def _with_digest(self, name: str) -> str:
        digest, text = self.digest(), (self._folder / name).read_text("utf-8")
        scripts = [match["name"] for match in _SCRIPT.finditer(text)]
        loaded = list(dict.fromkeys(part for script in scripts for part in self._graph(script)))
        parts = [part for part in loaded if part not in scripts]
        links = "".join(f'  <link rel="modulepreload" href="static/{part}">\n' for part in parts)
        # Without npm, there are no libraries.
        text = _PRELOAD.sub(lambda link: link[0] if (self._folder / link["name"]).is_file() else "", text)
        text = text.replace("</head>", f"{links}</head>").replace('"static/', f'"static/{digest}/')
        return text.replace("DIGEST", digest)

    def _graph(self, script: str) -> tuple[str, ...]:
        """`script` and all that it imports, directly or not, by names in the folder."""
        if script not in self._graphs:
            found: dict[str, None] = {}
            waiting = [script]
            while waiting:
                name = waiting.pop()
                path = self._folder / name
                if name in found or not path.is_file():
                    continue
                found[name] = None
                for match in _IMPORT.finditer(path.read_text("utf-8")):
                    imported = (path.parent / match["path"]).resolve()
                    if imported.is_relative_to(self._folder.resolve()):
                        waiting.append(imported.relative_to(self._folder.resolve()).as_posix())
            self._graphs[script] = tuple(found)
        return self._graphs[script]

    async def _finish(self, name: str, response: Response) -> Response:
        """Compress it, and add an ETag of the content."""
        if Path(name).suffix in COMPRESSED:
            await self._compress(name, response)
        response.headers["Cache-Control"] = REVALIDATED
        return await with_etag(response)

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


async def with_etag(response: Response) -> Response:
    """Add an ETag of the content; return 304 to a client that has it (RFC 9110, section 13.1.2)."""
    body = await response.get_data(as_text=False)
    response.set_etag(hashlib.sha256(body).hexdigest()[:32])
    return await response.make_conditional(request)
