"""The outermost ASGI layer: one record per request, and no generation outlives its request.

Does not know routes or wires. It exists because a generation can be left behind in three ways that no handler can
see (hypercorn 0.18, Quart 0.22): a handler that is cancelled before its response's first step never runs the
response's `finally`; a task that hypercorn cancels leaves Quart's inner task running; and a crash in the response's
sending does both. Tests: `tests/live/test_disconnect.py`, `tests/app/middleware/test_guard.py`.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Literal

from app.generation.stream import Reply
from app.observability.access_log import Fate, fate_of, fate_of_error, figures_of, key_label
from engine.generation import Generation
from protocol.errors import Fault

ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]
RECORD_KEY = "twowire.record"
MAX_REQUEST_ID = 128
UNKNOWN_ROUTE = "(unknown)"
"""In place of a path that is no route's: clients may ask for any number of these, and each would be a metric."""

Headers = Iterable[tuple[bytes, bytes]]
Wire = Literal["http", "sse", "websocket"]

Release = Callable[[], Awaitable[None]]
"""Gives something back; may be called twice."""


class RequestRecord:
    """What is known of one request: filled by the handlers on the way, logged in one line at the end."""

    def __init__(self, method: str, path: str, request_id: str) -> None:
        self.method = method
        self.path = path
        self.request_id = request_id
        self.started_at = time.monotonic()
        self.status: int | None = None
        self.model: str | None = None
        self.fault: Fault | None = None
        self.owner: str | None = None
        self.wire: Wire = "http"
        self.http_version = "1.1"
        self.is_session = False
        """It became a WebSocket: what it asks for is told message by message."""
        self.is_work = False
        """It asked the engine or the embedder for something."""
        self.reply: Reply | None = None
        """What it reads, where that may outlive it."""
        self.client: str | None = None
        """Whose limits apply; see `app.generation.admission.Asker`. None until it is known."""
        self.generations: list[Generation] = []
        self.headers: Headers = ()
        self.figures: dict[str, object] = {}
        """What else the log line tells."""
        self._releases: list[Release] = []
        self._closed = False

    async def adopt(self, generation: Generation | None, release: Release) -> None:
        """Tie something to this request that `release` gives back; at once, where the request is over already.

        `generation` is what the log line tells of.
        """
        if self._closed:
            await release()
            raise asyncio.CancelledError
        if generation is not None:
            self.generations.append(generation)
        self._releases.append(release)

    def hand_over(self, reply: Reply) -> None:
        """What was adopted belongs to somebody else now: all that is left to do here is to leave `reply`."""
        self.reply = reply
        self._releases = [reply.leave]

    async def close(self) -> None:
        """Give back everything."""
        self._closed = True
        for release in self._releases:
            await release()

    def log_line(self) -> dict[str, Any]:
        """The fields of the access log. Never any text of prompt or answer."""
        line: dict[str, Any] = {
            "request_id": self.request_id,
            "method": self.method,
            "route": self.path,
            "wire": self.wire,
            "http": self.http_version,
            "status": self.status,
            "duration_s": round(time.monotonic() - self.started_at, 4),
        }
        if self.owner is not None:
            line["key"] = key_label(self.owner)
        if self.model is not None:
            line["model"] = self.model
        if self.reply is not None:
            line |= {"id": self.reply.id, **figures_of(self.reply.generation)}
        for generation in self.generations:
            line |= figures_of(generation)
        if self.fault is not None:
            line["error"] = self.fault.code
        return line | self.figures

    @property
    def fate(self) -> Fate:
        """How it ended; right once it is closed."""
        if self.reply is not None:
            return self.reply.fate
        if self.generations:
            generation = self.generations[0]
            is_told_otherwise = self.fault is not None and generation.outcome == "completed"
            return "failed" if is_told_otherwise else fate_of(generation)
        if self.fault is not None:
            return fate_of_error(self.fault)
        return "cancelled" if self.status is None else "completed"


def record_of(scope: Any) -> RequestRecord:
    """The record of the request that `scope` belongs to."""
    record: RequestRecord = scope[RECORD_KEY]
    return record


class RequestGuard:
    """Wraps the ASGI app; the record of a request is `scope[RECORD_KEY]`."""

    def __init__(self, app: ASGIApp, tell: Callable[[RequestRecord], None]) -> None:
        """`tell` is called with each request's record when the request is over."""
        self._app = app
        self._tell = tell

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
            self._tell(record)


def request_id_of(scope: Any) -> str:
    """The client's `X-Request-Id` where it is a short printable word, else a fresh one. It is a label only."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text: str = value.decode("latin-1")
            if is_label(text):
                return text
    return f"req_{uuid.uuid4().hex}"


def is_label(text: str) -> bool:
    """It is a short printable word, fit for the log."""
    return 0 < len(text) <= MAX_REQUEST_ID and text.isascii() and text.isprintable() and " " not in text
