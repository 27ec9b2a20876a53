"""Logs and counts finished requests: one log line, one count by route, wire and outcome, and one span.

Each request ends here once: an HTTP request through `RequestGuard`, a message on a channel through `ChannelBackend`.
Prompts, responses and keys are never logged.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import structlog

from app.observability.outcome import RequestOutcome, outcome_of_error
from app.observability.record import RecordedStream, RequestRecord, figures_of
from app.observability.traces import Context, RequestSpan, Traces, context_of
from protocol.errors import TwowireError

if TYPE_CHECKING:
    from app.observability.metrics import Metrics
    from engine.generation import Generation

log = structlog.get_logger("twowire.access")

SPAN_NAMES = {
    "method": "http.request.method",
    "route": "http.route",
    "status": "http.response.status_code",
    "model": "gen_ai.request.model",
    "id": "gen_ai.response.id",
    "prompt_tokens": "gen_ai.usage.input_tokens",
    "completion_tokens": "gen_ai.usage.output_tokens",
}
"""Log fields that have a name in OpenTelemetry's semantic conventions."""


class AccessLog:
    """Reports finished requests to the log, the metrics and the traces."""

    def __init__(self, metrics: Metrics, quiet_paths: frozenset[str], traces: Traces | None = None) -> None:
        self._metrics = metrics
        self._quiet_paths = quiet_paths
        self._traces = traces

    def request(self, record: RequestRecord) -> None:
        """Report an HTTP request that has ended, or a WebSocket connection."""
        outcome = record.outcome
        if record.is_session:
            log.info("websocket", **record.log_line())
            return
        self._metrics.requests.labels(record.path, record.wire, outcome).inc()
        reads_only = record.method in ("GET", "HEAD", "OPTIONS") and not record.is_work and outcome == "completed"
        line = record.log_line()
        if self._traces is not None and (record.is_work or record.method == "POST"):
            generations = record.generations if record.response is None else [record.response.generation]
            name, context = f"{record.method} {record.path}", context_of(record.headers)
            self._trace(name, record.started_at, context, line, outcome, generations)
        level = "debug" if reads_only or record.path in self._quiet_paths else "info"
        getattr(log, level)("request", **line, outcome=outcome)

    def message(
        self,
        route: str,
        label: dict[str, Any],
        *,
        started_at: float,
        response: RecordedStream | None = None,
        error: TwowireError | None = None,
        context: Context | None = None,
    ) -> None:
        """Report a channel's create or resume that has had its terminal frame, or a message refused with an error."""
        outcome: RequestOutcome = "cancelled"
        if response is not None:
            outcome = response.outcome
        elif error is not None:
            outcome = outcome_of_error(error.fault)
        line = {**label, "route": route, "wire": "websocket"}
        line["duration_s"] = round(time.monotonic() - started_at, 4)
        if response is not None:
            line |= {"id": response.id, **figures_of(response.generation)}
        if error is not None:
            line["error"] = error.fault.code
            self._metrics.refusals.labels(error.fault.code).inc()
        self._metrics.requests.labels(route, "websocket", outcome).inc()
        if self._traces is not None and context is not None:
            generations = [] if response is None else [response.generation]
            self._trace(f"{label['frame']} {route}", started_at, context, line, outcome, generations)
        log.info("request", **line, outcome=outcome)

    def _trace(
        self,
        name: str,
        started_at: float,
        context: Context,
        line: dict[str, Any],
        outcome: RequestOutcome,
        generations: list[Generation],
    ) -> None:
        assert self._traces is not None
        attributes = {SPAN_NAMES.get(field, f"twowire.{field}"): value for field, value in line.items()}
        failed_with = str(line.get("error", outcome)) if outcome in ("failed", "timed_out") else None
        attributes["twowire.outcome"] = outcome
        self._traces.add(RequestSpan(name, started_at, context, attributes, failed_with, generations))
