"""Chunks on the fast path through the app: the same bytes, numbers and counts as by the ordinary one."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from app.generation.coalesce import Pace
from app.generation.fast_path import EventSender
from app.generation.stream import LiveStream
from engine.api import FastPath
from engine.generation import Generation
from protocol import sse
from protocol.chat.chunks import ChatChunks
from protocol.completions.chunks import CompletionChunks
from protocol.output import Delta, FinishReason
from tests.app.channel.channels import turn, until
from tests.app.generation.outlet import Outlet
from tests.engine.fakes import FakeStream
from tests.engine.test_generation import PREPARED, Recorder, generation_of

TEXTS = ["a", "", 'quotes " and \\', "한국어", "line\n\tbreak\x00\x7f", "\u2028 😀"]


def response_of(generation: Generation, encoder: type[ChatChunks] | type[CompletionChunks], **more: Any) -> LiveStream:
    chunks = encoder(answer_id="chatcmpl-1", model="guide", created=1, **more)
    return LiveStream("chatcmpl-1", generation, chunks, 1)


@pytest.mark.parametrize("encoder", [ChatChunks, CompletionChunks])
@pytest.mark.parametrize("include_usage", [False, True])
async def test_events_are_those_of_the_ordinary_path(encoder: type[ChatChunks], include_usage: bool) -> None:
    stream, outlet = FakeStream(), Outlet()
    response = response_of(generation_of(stream), encoder, include_usage=include_usage)
    sender = EventSender(outlet)
    # A completion has no opening chunk: its first read would wait for text until the next keep-alive.
    first = await response.next(sender) if encoder is ChatChunks else []
    assert first is not None
    reading = asyncio.ensure_future(response.next(sender))
    await asyncio.sleep(0)
    for text in TEXTS:
        stream.feed(Delta(0, text, 1))
    ordinary = encoder(answer_id="chatcmpl-1", model="guide", created=1, include_usage=include_usage)
    assert outlet.parts == [sse.event(chunk) for text in TEXTS for chunk in ordinary.encode(Delta(0, text, 1))]
    assert response.seq == len(first) + len(TEXTS)
    stream.feed(Delta(0, "", 1, "stop"))
    assert len(await reading or []) == 1
    assert response.seq == len(first) + len(TEXTS) + 1


async def test_chunks_that_vary_in_length_have_no_fast_path() -> None:
    stream, outlet = FakeStream(), Outlet()
    response = response_of(generation_of(stream), ChatChunks, obfuscate=True)
    sender = EventSender(outlet)
    await response.next(sender)
    reading = asyncio.ensure_future(response.next(sender))
    await asyncio.sleep(0)
    stream.feed(Delta(0, "a", 1))
    (chunk,) = await reading or []
    assert (outlet.parts, orjson.loads(chunk)["choices"][0]["delta"]) == ([], {"content": "a"})
    await response.leave()


class ThoughtParser:
    """An engine's stream whose texts are parsed: what stands between «<» and «>» is reasoning, and not plain."""

    scheduled_at = None

    def __init__(self, stream: FakeStream) -> None:
        self._stream = stream
        self._is_thinking = False

    @property
    def cached_tokens(self) -> int:
        return self._stream.cached_tokens

    async def next(self, fast_path: FastPath | None = None) -> list[Delta] | None:
        def gate(text: str, tokens: int) -> bool:
            return not self._is_thinking and text != "<" and fast_path is not None and fast_path(text, tokens)

        step = await self._stream.next(gate if fast_path is not None else None)
        return step and [self._parsed(delta) for delta in step]

    def _parsed(self, delta: Delta) -> Delta:
        if delta.text in ("<", ">"):
            self._is_thinking = delta.text == "<"
            return Delta(delta.index, "", delta.tokens, delta.finish_reason, part="reasoning")
        delta.part = "reasoning" if self._is_thinking else None
        return delta

    def wake(self) -> None:
        self._stream.wake()

    async def cancel(self) -> None:
        await self._stream.cancel()

    async def close(self) -> None:
        await self._stream.close()


class Reader:
    """Reads a stream as the routes do; `parts` has all that was sent, by either path, in order."""

    def __init__(self, response: LiveStream) -> None:
        self.outlet = Outlet()
        self.ordinary: list[bytes] = []
        self.task = asyncio.create_task(self._read(response))

    @property
    def parts(self) -> list[bytes]:
        return self.outlet.parts

    async def _read(self, response: LiveStream) -> None:
        sender = EventSender(self.outlet)
        while (events := await response.next(sender)) is not None:
            self.parts.extend(map(sse.event, events))
            self.ordinary.extend(map(sse.event, events))
        await response.leave()

    async def wait(self) -> None:
        """Until the opening is sent, and the reader waits."""
        await until(lambda: self.parts)
        await turn()

    async def feed(self, stream: FakeStream, text: str, finish_reason: FinishReason | None = None) -> bool:
        """Whether the text took the fast path."""
        sent, ordinary = len(self.parts), len(self.ordinary)
        stream.feed(Delta(0, text, 1, finish_reason))
        await until(lambda: len(self.parts) > sent)
        await turn()
        return len(self.ordinary) == ordinary


@pytest.mark.parametrize("pace", [None, Pace(0.0)])
async def test_what_a_parser_holds_not_plain_comes_in_order_by_the_ordinary_path(pace: Pace | None) -> None:
    stream = FakeStream()
    generation = generation_of(ThoughtParser(stream))
    encoder = ChatChunks(answer_id="chatcmpl-1", model="guide", created=1)
    reader = Reader(LiveStream("chatcmpl-1", generation, encoder, 1, pace=pace))
    await reader.wait()
    texts = ["a", "b", "<", "c", "d", ">", "e", "f"]
    assert [await reader.feed(stream, text) for text in texts] == [True, True, *[False] * 4, True, True]
    assert not await reader.feed(stream, "g", "stop")
    stream.end()
    await reader.task
    deltas = [orjson.loads(part[6:])["choices"][0]["delta"] for part in reader.parts]
    assert "".join(delta.get("content") or "" for delta in deltas) == "abefg"
    assert [delta["reasoning"] for delta in deltas if "reasoning" in delta] == ["", "c", "d", ""]
    assert generation.usage.completion_tokens == len(texts) + 1


async def test_what_the_coalescer_holds_comes_before_what_is_not_plain() -> None:
    stream = FakeStream()
    encoder = ChatChunks(answer_id="chatcmpl-1", model="guide", created=1)
    response = LiveStream("chatcmpl-1", generation_of(ThoughtParser(stream)), encoder, 1, pace=Pace(3600.0))
    reader = Reader(response)
    await reader.wait()
    assert await reader.feed(stream, "a")
    for text in "bc<d":
        stream.feed(Delta(0, text, 1))
    await until(lambda: len(reader.parts) >= 5)
    deltas = [orjson.loads(part[6:])["choices"][0]["delta"] for part in reader.parts[1:]]
    assert [delta.get("content", delta.get("reasoning")) for delta in deltas] == ["a", "bc", "", "d"]
    stream.end()
    await reader.task


class Sections(ChatChunks):
    """An API whose texts stand in numbered sections, which reasoning ends: the event of a text changes on the way."""

    section = 1

    def encode(self, delta: Delta) -> list[bytes]:
        if delta.part is not None:
            self.text_template = None
        elif self.text_template is None:
            self.section += 1
            self.text_template = b'{"section":%d,"text":' % self.section, b"}"
        return super().encode(delta)


async def test_the_fast_path_follows_the_encoder() -> None:
    stream = FakeStream()
    encoder = Sections(answer_id="chatcmpl-1", model="guide", created=1)
    reader = Reader(LiveStream("chatcmpl-1", generation_of(ThoughtParser(stream)), encoder, 1))
    await reader.wait()
    assert [await reader.feed(stream, text) for text in "a<b>"] == [True, False, False, False]
    assert not await reader.feed(stream, "c"), "the encoder has no event for a plain text yet"
    assert await reader.feed(stream, "d")
    assert reader.parts[-1] == b'data: {"section":2,"text":"d"}\n\n'
    stream.end()
    await reader.task


async def test_what_takes_the_fast_path_is_counted_and_observed() -> None:
    observer, stream = Recorder(), FakeStream(cached_tokens=5)
    generation = generation_of(stream, observer)
    fast_path = generation.fast_path_to(lambda text: text != "no")
    assert fast_path("a", 1)
    assert fast_path("b", 2)
    assert not fast_path("no", 4)
    assert observer.told == ["started", "first_token", "gap"]
    assert (generation.usage.completion_tokens, generation.usage.cached_tokens) == (3, 5)
    await generation.close()
    assert not fast_path("c", 1), "nothing is sent for what has ended"
    assert generation.sequences == PREPARED.sequences
