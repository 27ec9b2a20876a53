"""Traces: what a collector receives of a request, by either wire, and that the server does without OpenTelemetry."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from structlog.testing import capture_logs

from app.config.load import SettingsError, load_settings
from app.factory import create_app
from app.observability.traces import start_traces
from app.server.wiring import make_services
from app.services import Services
from engine.manager import EngineManager
from protocol.errors import Fault, TwowireError
from protocol.output import Delta
from tests.app.channel.channels import BODY, DONE, HANDSHAKE, Harness, begin_stream, open_harness, until
from tests.engine.fakes import words
from tests.otlp import Collector, attributes, children, collecting

CHAT = "/v1/chat/completions"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@asynccontextmanager
async def traced(collector: Collector, **options: Any) -> AsyncIterator[Harness]:
    """A harness whose traces have all been sent when the block is left."""
    async with open_harness(**options) as harness:
        harness.services = traced_services(harness.manager, collector.url)
        yield harness
        assert harness.services.traces is not None
        await harness.services.traces.close()


def traced_services(manager: EngineManager, endpoint: str) -> Services:
    return make_services(load_settings(["--otlp-endpoint", endpoint], {}), manager)


def assert_told_in_parts(collector: Collector, span: Span) -> None:
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT), "the caller's trace goes on"
    assert span.kind == Span.SpanKind.SPAN_KIND_SERVER
    parts = children(collector, span)
    assert [part.name for part in parts] == ["queue", "prefill", "decode"]
    assert all(part.trace_id.hex() == TRACE for part in parts)
    for before, after in itertools.pairwise(parts):
        assert before.start_time_unix_nano <= before.end_time_unix_nano == after.start_time_unix_nano
    assert span.start_time_unix_nano <= parts[0].start_time_unix_nano
    assert parts[-1].end_time_unix_nano <= span.end_time_unix_nano


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_an_http_request_is_a_span_with_its_parts(collector: Collector, stream: bool) -> None:
    async with traced(collector, steps=words("a", "b"), ends=True) as harness:
        client = create_app(harness.services).test_client()
        headers = {"traceparent": TRACEPARENT, "X-Request-Id": "mine"}
        await (await client.post(CHAT, json=BODY | {"stream": stream}, headers=headers)).get_data()
    span = collector.named(f"POST {CHAT}")
    assert_told_in_parts(collector, span)
    told = attributes(span)
    assert (told["gen_ai.request.model"], told["gen_ai.usage.output_tokens"]) == ("guide", 2)
    assert (told["twowire.request_id"], told["twowire.outcome"]) == ("mine", "completed")
    assert collector.paths == ["/v1/traces"]
    assert collector.resources[0]["service.name"] == "twowire"


async def test_a_message_of_a_channel_names_its_own_trace(collector: Collector) -> None:
    async with traced(collector, steps=words("a", "b"), ends=True) as harness:
        peer = harness.peer()
        await peer.create("traced", traceparent=TRACEPARENT, tracestate="a=b")
        await peer.wait_for(DONE, "traced")
        await peer.create("untraced")
        await peer.wait_for(DONE, "untraced")
    of_streams = {attributes(span).get("twowire.stream_id"): span for span in collector.spans}
    assert_told_in_parts(collector, of_streams["traced"])
    assert of_streams["traced"].trace_state == "a=b"
    assert of_streams["untraced"].trace_id.hex() != TRACE
    assert not of_streams["untraced"].parent_span_id


async def test_a_connections_handshake_names_the_trace_of_its_messages(collector: Collector) -> None:
    async with traced(collector, steps=words("a"), ends=True) as harness:
        client = create_app(harness.services).test_client()
        headers = HANDSHAKE | {"traceparent": TRACEPARENT}
        async with asyncio.timeout(10), client.websocket(CHAT, headers=headers) as socket:
            await socket.send_json({"type": "chat.completion.create", "stream_id": "a", "body": BODY})
            while (await socket.receive_json())["type"] != DONE:
                pass
    assert_told_in_parts(collector, collector.named(f"chat.completion.create {CHAT}"))


async def test_what_the_engine_tells_of_its_queue_divides_queue_from_prefill(collector: Collector) -> None:
    async with traced(collector) as harness:
        peer = harness.peer()
        await peer.create("a")
        await until(lambda: bool(harness.streams))
        (generation,) = harness.manager.active
        harness.streams[0].scheduled_at = generation.started_at + 0.5
        harness.streams[0].feed(Delta(0, "x", 1))
        await peer.wait_for("chat.completion.chunk", count=2)
        generation.first_token_at = generation.started_at + 0.75
        harness.streams[0].end()
        await peer.wait_for(DONE)
    queue, prefill, _ = children(collector, collector.named(f"chat.completion.create {CHAT}"))
    lengths = [round((part.end_time_unix_nano - part.start_time_unix_nano) / 1e9, 2) for part in (queue, prefill)]
    assert lengths == [0.5, 0.25]


async def test_a_failure_is_marked_and_a_refusal_is_not(collector: Collector) -> None:
    async with traced(collector) as harness:
        peer = harness.peer()
        await begin_stream(harness, peer, "failed")
        harness.streams[-1].fail(TwowireError(Fault.ENGINE_DIED, "gone"))
        await peer.wait_for(DONE, "failed")
        await peer.create("refused", body={"temperature": 3})
        await peer.wait_for("error", "refused")
    marks = {
        attributes(span)["twowire.stream_id"]: (span.status.code, attributes(span).get("error.type"))
        for span in collector.spans
        if not span.parent_span_id
    }
    assert marks == {"failed": (2, "engine_died"), "refused": (0, None)}


async def test_a_trace_that_is_none_begins_one(collector: Collector) -> None:
    async with traced(collector, steps=words("a"), ends=True) as harness:
        client = create_app(harness.services).test_client()
        assert (await client.post(CHAT, json=BODY, headers={"traceparent": "nonsense"})).status_code == 200
    assert not collector.named(f"POST {CHAT}").parent_span_id


async def test_what_only_looks_makes_no_span(collector: Collector) -> None:
    async with traced(collector) as harness:
        client = create_app(harness.services).test_client()
        for path in ("/health", "/metrics", "/v1/models"):
            await client.get(path)
    assert collector.spans == []


def test_without_the_library_the_server_starts_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with capture_logs() as lines:
        assert start_traces("http://127.0.0.1:4318") is None
    assert "twowire[otel]" in lines[0]["reason"]


def test_without_an_endpoint_the_library_is_not_even_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with capture_logs() as lines:
        assert start_traces(None) is None
    assert lines == []


@pytest.mark.parametrize("url", ["collector:4318", "ftp://collector", "http://"])
def test_an_endpoint_is_a_url(url: str) -> None:
    with pytest.raises(SettingsError, match="--otlp-endpoint: must be a URL"):
        load_settings(["--otlp-endpoint", url], {})


async def test_a_collector_that_is_not_there_stops_nothing() -> None:
    async with open_harness(steps=words("a"), ends=True) as harness:
        harness.services = traced_services(harness.manager, "http://127.0.0.1:9")
        peer = harness.peer()
        await peer.create()
        await peer.wait_for(DONE)
        assert harness.services.traces is not None
        await harness.services.traces.close()
