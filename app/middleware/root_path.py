"""Serves the app below a path, for a proxy that forwards its own paths unchanged."""

from __future__ import annotations

from typing import Any

from app.middleware.lifecycle import ASGIApp


class RootPath:
    """Removes `prefix` from request paths that have it, and serves others unchanged.

    The pages need no prefix: their URLs are relative. Relative URLs need a slash at the end of the page's own, so the
    bare prefix is redirected.
    """

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == self._prefix:
            # Relative, so that the proxy's own scheme and host stay.
            location = f"{self._prefix.rpartition('/')[2]}/".encode()
            headers = [(b"location", location), (b"content-length", b"0")]
            await send({"type": "http.response.start", "status": 307, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        if scope["type"] != "lifespan" and scope["path"].startswith(f"{self._prefix}/"):
            scope["path"] = scope["path"].removeprefix(self._prefix)
            if "raw_path" in scope:
                scope["raw_path"] = scope["raw_path"].removeprefix(self._prefix.encode())
        await self._app(scope, receive, send)
