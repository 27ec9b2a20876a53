"""What the server knows about one request: handlers fill it in, and it is logged once when the request ends."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from app.observability.outcome import RequestOutcome, Wire, outcome_of, outcome_of_error

if TYPE_CHECKING:
    from engine.generation import Generation
    from protocol.errors import Fault

RECORD_KEY = "twowire.record"
"""Where a request's record is in its ASGI scope."""
MAX_REQUEST_ID = 128
UNKNOWN_ROUTE = "(unknown)"
"""Stands for every path that matches no route: each distinct path would otherwise become a metric."""
KEY_LABEL_CHARS = 8

Headers = Iterable[tuple[bytes, bytes]]

Release = Callable[[], Awaitable[None]]
"""Releases a resource; may be called twice."""


class RecordedStream(Protocol):
    """What a record reads of a response stream."""

    id: str

    @property
    def generation(self) -> Generation: ...

    @property
    def outcome(self) -> RequestOutcome:
        """How reading it ended; valid once it has been left."""

    async def leave(self) -> None:
        """Stop reading."""


class RequestRecord:
    """One request, from the first byte of its headers to its log line."""

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
        """It became a WebSocket; its messages are logged one by one."""
        self.is_work = False
        """It needed the engine or the embedder."""
        self.response: RecordedStream | None = None
        """The stream it reads, if that may outlive the request."""
        self.client: str | None = None
        """Whose rate limits apply; None until known."""
        self.generations: list[Generation] = []
        self.headers: Headers = ()
        self.figures: dict[str, object] = {}
        """Extra fields of the log line."""
        self._releases: list[Release] = []
        self._closed = False

    async def adopt(self, generation: Generation | None, release: Release) -> None:
        """Call `release` when the request ends; at once if it already has, and then raise `CancelledError`.

        `generation`, if any, is described in the log line.
        """
        if self._closed:
            await release()
            raise asyncio.CancelledError
        if generation is not None:
            self.generations.append(generation)
        self._releases.append(release)

    def hand_over(self, response: RecordedStream) -> None:
        """Drop everything adopted, which `response` now owns; at the end of the request only leave `response`."""
        self.response = response
        self._releases = [response.leave]

    async def close(self) -> None:
        """Release everything adopted."""
        self._closed = True
        for release in self._releases:
            await release()

    def log_line(self) -> dict[str, Any]:
        """The fields of the access log. Never contains prompt or response text."""
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
        if self.response is not None:
            line |= {"id": self.response.id, **figures_of(self.response.generation)}
        for generation in self.generations:
            line |= figures_of(generation)
        if self.fault is not None:
            line["error"] = self.fault.code
        return line | self.figures

    @property
    def outcome(self) -> RequestOutcome:
        """How the request ended; valid once the record is closed."""
        if self.response is not None:
            return self.response.outcome
        if self.generations:
            generation = self.generations[0]
            # The generation completed, but the client got an error.
            is_overruled = self.fault is not None and generation.outcome == "completed"
            return "failed" if is_overruled else outcome_of(generation)
        if self.fault is not None:
            return outcome_of_error(self.fault)
        return "cancelled" if self.status is None else "completed"


def record_of(scope: Any) -> RequestRecord:
    """The record of the request with the ASGI scope `scope`."""
    record: RequestRecord = scope[RECORD_KEY]
    return record


def figures_of(generation: Generation) -> dict[str, Any]:
    """The log fields of one generation."""
    line: dict[str, Any] = {
        "prompt_tokens": generation.usage.prompt_tokens,
        "completion_tokens": generation.usage.completion_tokens,
    }
    if generation.first_token_at is not None:
        line["first_token_s"] = round(generation.first_token_at - generation.started_at, 4)
    if generation.error is not None:
        line["error"] = generation.error.fault.code
    return line


def key_label(owner: str | None) -> str | None:
    """How an API key appears in the log: the first eight hex digits of its SHA-256."""
    return None if owner is None else owner[:KEY_LABEL_CHARS]


def request_id_of(scope: Any) -> str:
    """The client's `X-Request-Id` if it is fit for the log, else a new id. It is only a label."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text: str = value.decode("latin-1")
            if is_label(text):
                return text
    return f"req_{uuid.uuid4().hex}"


def is_label(text: str) -> bool:
    """Whether `text` is fit for the log: short, printable ASCII, no spaces."""
    return 0 < len(text) <= MAX_REQUEST_ID and text.isascii() and text.isprintable() and " " not in text
