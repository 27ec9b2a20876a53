"""Logs and counts finished requests: one log line, and one count by route, wire and outcome.

Does not know how a request is served. Every request ends here once: an HTTP request by `RequestGuard`, a message of a
channel by `ChannelBackend`. Prompts, answers and keys are never logged.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

import structlog

from app.observability.traces import Context, Told, Traces, context_of
from protocol.errors import Fault, TwowireError

if TYPE_CHECKING:
    from app.generation.stream import Reply
    from app.middleware.lifecycle import RequestRecord
    from app.observability.metrics import Metrics
    from engine.generation import Generation

log = structlog.get_logger("twowire.access")

Fate = Literal["completed", "cancelled", "detached", "refused", "failed", "timed_out"]
"""How a request ended. `detached`: its reader went, and the generation runs on for whoever comes back."""

SPAN_NAMES = {
    "method": "http.request.method",
    "route": "http.route",
    "status": "http.response.status_code",
    "model": "gen_ai.request.model",
    "id": "gen_ai.response.id",
    "prompt_tokens": "gen_ai.usage.input_tokens",
    "completion_tokens": "gen_ai.usage.output_tokens",
}
"""What a field of the log line is called in a span, where OpenTelemetry's conventions have a name for it."""

KEY_LABEL_CHARS = 8
"""How much of a key's SHA-256 stands for it in the log."""

TIMED_OUT = 504
"""The status of the errors that say that a request took longer than it may."""

OUR_FAULTS = frozenset({Fault.INTERNAL, Fault.ENGINE_DIED})
"""What the client could have done nothing about; any other error before the first token is a refusal."""


def fate_of(generation: Generation) -> Fate:
    """How a request ended whose generation this was."""
    if generation.outcome == "failed" and generation.error is not None:
        return "timed_out" if generation.error.fault.status == TIMED_OUT else "failed"
    return generation.outcome or "cancelled"


def fate_of_error(error: Fault) -> Fate:
    """How a request ended that got `error` before anything was generated."""
    if error.status == TIMED_OUT:
        return "timed_out"
    return "failed" if error in OUR_FAULTS else "refused"


def key_label(owner: str | None) -> str | None:
    """What tells the keys apart in the log: the first eight digits of the key's SHA-256."""
    return None if owner is None else owner[:KEY_LABEL_CHARS]


def figures_of(generation: Generation) -> dict[str, Any]:
    """The fields of a log line that tell of a generation."""
    line: dict[str, Any] = {
        "prompt_tokens": generation.usage.prompt_tokens,
        "completion_tokens": generation.usage.completion_tokens,
    }
    if generation.first_token_at is not None:
        line["first_token_s"] = round(generation.first_token_at - generation.started_at, 4)
    if generation.error is not None:
        line["error"] = generation.error.fault.code
    return line


class AccessLog:
    """Tells of requests: in the log, and in the metrics."""

    def __init__(self, metrics: Metrics, quiet_paths: frozenset[str], traces: Traces | None = None) -> None:
        self._metrics = metrics
        self._quiet_paths = quiet_paths
        self._traces = traces

    def request(self, record: RequestRecord) -> None:
        """An HTTP request is over, or a WebSocket's connection."""
        fate = record.fate
        if record.is_session:
            log.info("websocket", **record.log_line())
            return
        self._metrics.requests.labels(record.path, record.wire, fate).inc()
        reads_only = record.method in ("GET", "HEAD", "OPTIONS") and not record.is_work and fate == "completed"
        line = record.log_line()
        if self._traces is not None and (record.is_work or record.method == "POST"):
            generations = record.generations if record.reply is None else [record.reply.generation]
            name, context = f"{record.method} {record.path}", context_of(record.headers)
            self._trace(name, record.started_at, context, line, fate, generations)
        level = "debug" if reads_only or record.path in self._quiet_paths else "info"
        getattr(log, level)("request", **line, outcome=fate)

    def message(
        self,
        route: str,
        label: dict[str, Any],
        *,
        began_at: float,
        reply: Reply | None = None,
        error: TwowireError | None = None,
        context: Context | None = None,
    ) -> None:
        """A channel's message to create or resume has had its terminal frame, or one that was refused its error."""
        fate: Fate = "cancelled"
        if reply is not None:
            fate = reply.fate
        elif error is not None:
            fate = fate_of_error(error.fault)
        line = {**label, "route": route, "wire": "websocket"}
        line["duration_s"] = round(time.monotonic() - began_at, 4)
        if reply is not None:
            line |= {"id": reply.id, **figures_of(reply.generation)}
        if error is not None:
            line["error"] = error.fault.code
            self._metrics.refusals.labels(error.fault.code).inc()
        self._metrics.requests.labels(route, "websocket", fate).inc()
        if self._traces is not None and context is not None:
            generations = [] if reply is None else [reply.generation]
            self._trace(f"{label['frame']} {route}", began_at, context, line, fate, generations)
        log.info("request", **line, outcome=fate)

    def _trace(
        self,
        name: str,
        began_at: float,
        context: Context,
        line: dict[str, Any],
        fate: Fate,
        generations: list[Generation],
    ) -> None:
        assert self._traces is not None
        attributes = {SPAN_NAMES.get(field, f"twowire.{field}"): value for field, value in line.items()}
        failed_with = str(line.get("error", fate)) if fate in ("failed", "timed_out") else None
        attributes["twowire.outcome"] = fate
        self._traces.add(Told(name, began_at, context, attributes, failed_with, generations))
