"""The outermost ASGI layer: opens a record for each request, and closes what the request still holds when it ends.

Handlers cannot do this themselves. A generation can be left running in three ways that no handler sees (hypercorn 0.18,
Quart 0.22): a handler cancelled before the first step of its response never runs the response's `finally`; a task
cancelled by hypercorn leaves Quart's inner task running; and a crash while the response is sent does both. Tests:
`tests/live/real/http/test_disconnect.py`, `tests/app/middleware/test_guard.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from app.observability.record import RECORD_KEY, UNKNOWN_ROUTE, RequestRecord, request_id_of

ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]


class RequestGuard:
    """Wraps the ASGI app; `record_of(scope)` gives a request's record."""

    def __init__(self, app: ASGIApp, log: Callable[[RequestRecord], None]) -> None:
        """`log` is called with each request's closed record when the request has ended."""
        self._app = app
        self._log = log

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        record = RequestRecord(scope.get("method", "WEBSOCKET"), UNKNOWN_ROUTE, request_id_of(scope))
        record.http_version = scope.get("http_version", "1.1")
        record.headers = scope["headers"]
        if scope["type"] == "websocket":
            record.wire = "websocket"
        scope[RECORD_KEY] = record
        try:
            await self._app(scope, receive, send)
        finally:
            await record.close()
            self._log(record)
