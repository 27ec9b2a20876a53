"""What a wire gets of a stream: no keep-alive without a silence, and each choice's end in a chunk of its own."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from app.generation.stream import LiveStream
from engine.merged_stream import MergedStream
from protocol.chat.chunks import ChatChunks
from protocol.completions.chunks import CompletionChunks
from protocol.output import Delta
from tests.engine.fakes import FakeStream
from tests.engine.test_generation import generation_of

ENCODERS: list[Any] = [ChatChunks, CompletionChunks]


def response_of(encoder: Any, keepalive_s: float = 15.0) -> tuple[LiveStream, list[FakeStream]]:
    streams = [FakeStream(), FakeStream()]
    generation = generation_of(MergedStream([*streams], 1), keepalive_s=keepalive_s)
    chunks = encoder(answer_id="x", model="guide", created=1)
    return LiveStream("x", generation, chunks, 2), streams


def choices(chunks: list[bytes] | None) -> list[tuple[int, str | None, str | None]]:
    found = [orjson.loads(chunk)["choices"][0] for chunk in chunks or []]
    return [(one["index"], one.get("text", one.get("delta", {}).get("content")), one["finish_reason"]) for one in found]


@pytest.mark.parametrize("encoder", ENCODERS)
async def test_the_end_of_one_of_several_choices_is_no_silence(encoder: Any) -> None:
    response, streams = response_of(encoder)
    streams[0].feed(Delta(0, "a", 1, "stop"))
    streams[0].end()
    await response.begin()
    async with asyncio.timeout(5):
        assert choices(await response.next())[-2:] == [(0, "a", None), (0, _nothing(encoder), "stop")]
        waiting = asyncio.create_task(response.next())
        # Enough turns of the loop for the first stream's end to be read.
        for _ in range(20):
            await asyncio.sleep(0)
        assert not waiting.done(), "the wire would send a keep-alive"
        streams[1].feed(Delta(0, "b", 1, "length"))
        streams[1].end()
        assert choices(await waiting) == [(1, "b", None), (1, _nothing(encoder), "length")]
        assert response.is_over
        assert await response.next() is None
    assert response.seq == (6 if encoder is ChatChunks else 4)
    await response.leave()


def _nothing(encoder: Any) -> str | None:
    return None if encoder is ChatChunks else ""


async def test_a_silence_is_an_empty_step() -> None:
    response, streams = response_of(ChatChunks, keepalive_s=0.01)
    streams[0].feed(Delta(0, "a", 1))
    await response.begin()
    async with asyncio.timeout(5):
        assert len(await response.next() or []) == 3
        assert await response.next() == []
    assert response.seq == 3
    await response.leave()
