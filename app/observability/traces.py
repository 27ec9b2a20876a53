"""Traces for OpenTelemetry: a span for each request that is over, and in it queue, prefill and decode.

Does not know wires or routes. Spans are made when all is known, from times that were noted anyway, so that tracing
costs nothing while tokens are made. The library is an extra, and only imported where an endpoint is set.
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
"""W3C, Trace Context: who called, and within what."""
TRACES_PATH = "/v1/traces"
STOP_S = 3.0
"""How long the last spans may take to be sent when the server stops."""

Context = Mapping[str, str]


class NotInstalled(Exception):
    """There is no OpenTelemetry here."""


@dataclass(frozen=True, slots=True)
class RequestSpan:
    """A request that is over. Times are those of `time.monotonic`."""

    name: str
    began_at: float
    context: Context
    attributes: Mapping[str, Any]
    failed_with: str | None = None
    """The error's code, where the server was at fault or late; a refusal is no error of the server's."""
    generations: Iterable[Generation] = ()
    ended_at: float = field(default_factory=time.monotonic)


def context_of(headers: Iterable[tuple[bytes, bytes]]) -> Context:
    """What the headers of a request or handshake say of its trace."""
    return {name.decode(): value.decode("latin-1") for name, value in headers if name in CONTEXT_HEADERS}


class Traces:
    """Sends spans by OTLP over HTTP, in a thread of the library's own, which drops what it cannot keep up with."""

    def __init__(self, endpoint: str) -> None:
        """`endpoint`: a collector's URL; without a path, that of OTLP is meant. Raises `NotInstalled`."""
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
        # What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say goes before; the library reads its variables itself.
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
        """Make the spans of a request."""
        offset_ns = time.time_ns() - time.monotonic_ns()

        def ns(at: float) -> int:
            return int(at * 1e9) + offset_ns

        span = self._tracer.start_span(
            request.name,
            context=self._propagator.extract(request.context),
            kind=self._server_kind,
            attributes={name: value for name, value in request.attributes.items() if value is not None},
            start_time=ns(request.began_at),
        )
        if request.failed_with is not None:
            span.set_attribute("error.type", request.failed_with)
            span.set_status(self._status(self._error, request.failed_with))
        if span.is_recording():
            within = self._within(span)
            for generation in request.generations:
                for name, began_at, ended_at in phases(generation, request.ended_at):
                    child = self._tracer.start_span(name, context=within, start_time=ns(began_at))
                    child.end(ns(max(began_at, ended_at)))
        span.end(ns(request.ended_at))

    async def close(self) -> None:
        """Send what is left, for a moment at most."""
        try:
            async with asyncio.timeout(STOP_S):
                await in_daemon_thread(self._provider.shutdown)
        except TimeoutError:
            log.warning("traces_left_unsent", after_s=STOP_S)


def phases(generation: Generation, now: float) -> list[tuple[str, float, float]]:
    """The parts of a generation's time: name, beginning and end. One that was ended early has the first of them."""
    ended_at = generation.ended_at or now
    first_at, scheduled_at = generation.first_token_at, generation.scheduled_at
    if scheduled_at is None and first_at is None:
        return [("queue", generation.started_at, ended_at)]
    # The engine may have begun before this server had its stream in hand.
    computed_at = generation.started_at if scheduled_at is None else max(scheduled_at, generation.started_at)
    found = [("queue", generation.started_at, computed_at), ("prefill", computed_at, first_at or ended_at)]
    return found if first_at is None else [*found, ("decode", first_at, ended_at)]


def start_traces(endpoint: str | None) -> Traces | None:
    """What sends to `endpoint`; None where there is none, or the library is missing, which is said in the log."""
    if endpoint is None:
        return None
    try:
        return Traces(endpoint)
    except NotInstalled as missing:
        log.warning("traces_off", reason=str(missing))
        return None


def _with_path(endpoint: str) -> str:
    return endpoint.rstrip("/") + TRACES_PATH if urlsplit(endpoint).path in ("", "/") else endpoint
