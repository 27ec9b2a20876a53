"""The outermost ASGI layer: one record per request, and no generation outlives its request.

Does not know routes or wires. It exists because a generation can be left behind in three ways that no handler can
see (hypercorn 0.18, Quart 0.22): a handler that is cancelled before its response's first step never runs the
response's `finally`; a task that hypercorn cancels leaves Quart's inner task running; and a crash in the response's
sending does both. Tests: `tests/live/test_disconnect.py`, `tests/app/test_guard.py`.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from engine.generation import Generation

log = structlog.get_logger("twowire.access")

ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]
RECORD_KEY = "twowire.record"
MAX_REQUEST_ID = 128

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
        self.error_code: str | None = None
        self.owner: str | None = None
        self.generations: list[Generation] = []
        self.figures: dict[str, int] = {}
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

    def hand_over(self, release: Release) -> None:
        """What was adopted belongs to somebody else now; `release` is all that is left to do here."""
        self._releases = [release]

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
            "status": self.status,
            "duration_s": round(time.monotonic() - self.started_at, 4),
        }
        if self.model is not None:
            line["model"] = self.model
        if self.error_code is not None:
            line["error"] = self.error_code
        for generation in self.generations:
            line["outcome"] = generation.outcome
            line["prompt_tokens"] = generation.usage.prompt_tokens
            line["completion_tokens"] = generation.usage.completion_tokens
            if generation.first_token_at is not None:
                line["first_token_s"] = round(generation.first_token_at - generation.started_at, 4)
        return line | self.figures


def record_of(scope: Any) -> RequestRecord:
    """The record of the request that `scope` belongs to."""
    record: RequestRecord = scope[RECORD_KEY]
    return record


class RequestGuard:
    """Wraps the ASGI app; the record of a request is `scope[RECORD_KEY]`."""

    def __init__(self, app: ASGIApp, quiet_paths: frozenset[str] = frozenset()) -> None:
        self._app = app
        self._quiet_paths = quiet_paths

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        record = RequestRecord(scope.get("method", "WEBSOCKET"), scope["path"], request_id_of(scope))
        scope[RECORD_KEY] = record
        try:
            await self._app(scope, receive, send)
        finally:
            await record.close()
            level = "debug" if record.path in self._quiet_paths else "info"
            getattr(log, level)("request", **record.log_line())


def request_id_of(scope: Any) -> str:
    """The client's `X-Request-Id` where it is a short printable word, else a fresh one. It is a label only."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and 0 < len(value) <= MAX_REQUEST_ID and value.isascii():
            text: str = value.decode("ascii")
            if text.isprintable() and " " not in text:
                return text
    return f"req_{uuid.uuid4().hex}"
