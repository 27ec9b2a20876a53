"""The real server's traces, as a collector receives them: both wires, and the engine's own time of its queue."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.live.clients.channels import PATH, opened
from tests.live.servers.server import MODEL, START_TIMEOUT_S, Server
from tests.otlp import Collector, attributes, children

pytestmark = pytest.mark.slow

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADERS = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
# Longer than the model's steps are apart, so that a prompt that is read in parts has a length.
PROMPT = "Tell me about two wires. " * 40
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 20, "ignore_eos": True}


@pytest.fixture
def traced(other_server: Server) -> Server:
    other_server.wait_until(other_server.is_ready, START_TIMEOUT_S, "it is not ready")
    return other_server


def ours(collector: Collector) -> list[Span]:
    """The spans of this caller's trace: other tests use the same server."""
    return [span for span in list(collector.spans) if span.trace_id.hex() == TRACE]


def parts_of(collector: Collector, span: Span) -> dict[str, float]:
    """How many seconds each part of a request took."""
    parts = children(collector, span)
    assert all(part.trace_id.hex() == TRACE for part in parts)
    return {part.name: (part.end_time_unix_nano - part.start_time_unix_nano) / 1e9 for part in parts}


async def test_the_callers_trace_goes_on_in_both_wires(traced: Server, collector: Collector) -> None:
    answer = await asyncio.to_thread(httpx.post, f"{traced.url}{PATH}", json=CHAT, headers=HEADERS, timeout=60)
    assert answer.status_code == 200
    async with opened(traced, additional_headers=HEADERS) as channel:
        await channel.create("a", max_tokens=20)
        await channel.finish()
    # The library sends what it has every few seconds.
    names = {f"POST {PATH}", f"chat.completion.create {PATH}"}
    traced.wait_until(lambda: names <= {span.name for span in ours(collector)}, 30, "the spans did not come")
    for span in [span for span in ours(collector) if span.name in names]:
        assert span.parent_span_id.hex() == PARENT
        assert attributes(span)["gen_ai.usage.output_tokens"] == 20
        parts = parts_of(collector, span)
        assert list(parts) == ["queue", "prefill", "decode"]
        assert parts["prefill"] > 0, "the engine did not say when it began"
        assert parts["decode"] > 0
