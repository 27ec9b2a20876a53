"""Traces for OpenTelemetry: a span for each finished request, with child spans for queue, prefill and decode.

Spans are made when a request has ended, from timestamps that are taken anyway, so tracing costs nothing while tokens
are generated. The library is an extra, imported only if an endpoint is set.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import structlog

from app.version import installed_version
from engine.processes.threads import in_daemon_thread

if TYPE_CHECKING:
    from engine.generation import Generation

log = structlog.get_logger(__name__)

CONTEXT_HEADERS = frozenset({b"traceparent", b"tracestate"})
"""W3C Trace Context: the caller's trace."""
TRACES_PATH = "/v1/traces"
STOP_S = 3.0
"""How long sending the last spans may take when the server stops."""

Context = Mapping[str, str]


class NotInstalled(Exception):
    """OpenTelemetry is not installed."""


@dataclass(frozen=True, slots=True)
class RequestSpan:
    """A finished request. Times are those of `time.monotonic`."""

    name: str
    started_at: float
    context: Context
    attributes: Mapping[str, Any]
    failed_with: str | None = None
    """The error code, if the server failed or was too slow. A refusal is not the server's error."""
    generations: Iterable[Generation] = ()
    ended_at: float = field(default_factory=time.monotonic)


def context_of(headers: Iterable[tuple[bytes, bytes]]) -> Context:
    """The trace headers of a request or handshake."""
    return {name.decode(): value.decode("latin-1") for name, value in headers if name in CONTEXT_HEADERS}


class Traces:
    """Sends spans by OTLP over HTTP, in the library's own thread, which drops what it cannot keep up with."""

    def __init__(self, endpoint: str) -> None:
        """`endpoint` is a collector's URL; OTLP's path is added if it has none. Raises `NotInstalled`."""
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import OTELResourceDetector, Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError as missing:
            raise NotInstalled("traces need OpenTelemetry, the extra twowire[otel]") from missing
        ours = Resource({"service.name": "twowire", "service.version": installed_version()})
        # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence; the library reads its variables itself.
        self._provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=_with_path(endpoint))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("twowire", installed_version())
        self._propagator = TraceContextTextMapPropagator()
        self._within = set_span_in_context
        self._server_kind = SpanKind.SERVER
        self._error = StatusCode.ERROR
        self._status = Status

    def add(self, request: RequestSpan) -> None:
        """Record the spans of a request."""
        offset_ns = time.time_ns() - time.monotonic_ns()

        def ns(at: float) -> int:
            return int(at * 1e9) + offset_ns

        span = self._tracer.start_span(
            request.name,
            context=self._propagator.extract(request.context),
            kind=self._server_kind,
            attributes={name: value for name, value in request.attributes.items() if value is not None},
            start_time=ns(request.started_at),
        )
        if request.failed_with is not None:
            span.set_attribute("error.type", request.failed_with)
            span.set_status(self._status(self._error, request.failed_with))
        if span.is_recording():
            within = self._within(span)
            for generation in request.generations:
                for name, started_at, ended_at in phases(generation, request.ended_at):
                    child = self._tracer.start_span(name, context=within, start_time=ns(started_at))
                    child.end(ns(max(started_at, ended_at)))
        span.end(ns(request.ended_at))

    async def close(self) -> None:
        """Send the remaining spans, for `STOP_S` at most."""
        try:
            async with asyncio.timeout(STOP_S):
                await in_daemon_thread(self._provider.shutdown)
        except TimeoutError:
            log.warning("traces_left_unsent", after_s=STOP_S)


def phases(generation: Generation, now: float) -> list[tuple[str, float, float]]:
    """The phases of a generation: name, start and end. One that ended early has only the first of them."""
    ended_at = generation.ended_at or now
    first_at, scheduled_at = generation.first_token_at, generation.scheduled_at
    if scheduled_at is None and first_at is None:
        return [("queue", generation.started_at, ended_at)]
    # The engine may have started before this server had the stream.
    prefill_at = generation.started_at if scheduled_at is None else max(scheduled_at, generation.started_at)
    found = [("queue", generation.started_at, prefill_at), ("prefill", prefill_at, first_at or ended_at)]
    return found if first_at is None else [*found, ("decode", first_at, ended_at)]


def start_traces(endpoint: str | None) -> Traces | None:
    """Traces sent to `endpoint`; None without one, or if the library is missing, which is logged."""
    if endpoint is None:
        return None
    try:
        return Traces(endpoint)
    except NotInstalled as missing:
        log.warning("traces_off", reason=str(missing))
        return None


def _with_path(endpoint: str) -> str:
    return endpoint.rstrip("/") + TRACES_PATH if urlsplit(endpoint).path in ("", "/") else endpoint
