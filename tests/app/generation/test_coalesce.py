"""Chunks that wait for company: what they hold, in which order, and that the first and the last do not wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest

from app.generation.coalesce import Pace
from app.generation.fast_path import EventSender
from app.generation.stream import LiveStream
from protocol.chat.chunks import ChatChunks
from protocol.errors import Fault, TwowireError
from protocol.output import Delta
from tests.app.channel.channels import until
from tests.app.generation.outlet import Outlet
from tests.engine.fakes import FakeStream
from tests.engine.test_generation import generation_of

FOREVER_S = 1e6
SOON_S = 0.01


def texts(chunks: list[bytes] | None) -> list[str]:
    return [choice["delta"].get("content") for chunk in chunks or [] for choice in orjson.loads(chunk)["choices"]]


class Coalesced:
    """A stream whose first token has been sent, and its waiting reader."""

    def __init__(self, interval_s: float) -> None:
        self.stream, self.outlet = FakeStream(), Outlet()
        encoder = ChatChunks(answer_id="c", model="guide", created=1)
        generation = generation_of(self.stream)
        self.response = LiveStream("c", generation, encoder, 1, pace=Pace(interval_s))
        self.sender = EventSender(self.outlet)
        self.reader: asyncio.Task[list[bytes] | None]

    @property
    def sent(self) -> list[str]:
        return texts([part.removeprefix(b"data: ").strip() for part in self.outlet.parts])

    async def read(self) -> None:
        self.reader = asyncio.create_task(self.response.next(self.sender))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def say(self, *said: str, reason: str | None = None) -> None:
        for text in said:
            self.stream.feed(Delta(0, text, 1, "stop" if reason else None))


@asynccontextmanager
async def coalesced(interval_s: float) -> AsyncIterator[Coalesced]:
    one = Coalesced(interval_s)
    assert texts(await one.response.next(one.sender)) == [""]
    await one.read()
    yield one
    one.reader.cancel()
    await one.response.leave()


async def test_the_first_token_does_not_wait_and_the_next_do() -> None:
    async with coalesced(FOREVER_S) as one:
        one.say("a", "b", "c")
        assert one.sent == ["a"]
        assert one.response.usage.completion_tokens == 3
        assert one.response.seq == 2


async def test_what_was_held_comes_in_one_chunk_when_it_is_due() -> None:
    async with coalesced(SOON_S) as one:
        one.say("a", "b", "c")
        await until(lambda: len(one.sent) == 2)
        assert one.sent == ["a", "bc"]
        one.say("d")
        await until(lambda: len(one.sent) == 3)
        assert (one.sent[2], one.response.seq) == ("d", 4)


async def test_the_end_does_not_wait_and_comes_after_what_was_held() -> None:
    async with coalesced(FOREVER_S) as one:
        one.say("a", "b", "c")
        one.say("d", reason="stop")
        one.stream.end()
        assert texts(await one.reader) == ["bc", "d", None], "the last is the finish_reason alone"
        assert await one.response.next(one.sender) is None
        assert one.response.seq == 5


async def test_what_was_held_comes_before_a_failure() -> None:
    async with coalesced(FOREVER_S) as one:
        one.say("a", "b", "c")
        one.stream.fail(TwowireError(Fault.ENGINE_DIED, "It died."))
        assert texts(await one.reader) == ["bc"]
        with pytest.raises(TwowireError, match="It died"):
            await one.response.next(one.sender)


async def test_a_cancel_gives_what_was_held() -> None:
    async with coalesced(FOREVER_S) as one:
        one.say("a", "b", "c")
        await one.response.cancel()
        assert texts(await one.reader) == ["bc"]
        assert await one.response.next(one.sender) is None
        assert one.response.status == "cancelled"


async def test_what_a_busy_wire_does_not_take_is_the_readers() -> None:
    async with coalesced(SOON_S) as one:
        one.say("a", "b", "c")
        one.outlet.is_open = False
        assert texts(await one.reader) == ["bc"]
        assert one.sent == ["a"]


async def test_a_wake_that_comes_too_late_is_no_silence() -> None:
    async with coalesced(FOREVER_S) as one:
        one.response.generation.wake()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not one.reader.done(), "the wire would send a keep-alive"
        one.say("a", reason="stop")
        assert texts(await one.reader) == ["a", None]


async def test_a_reader_without_a_sender_reads_at_that_pace() -> None:
    stream = FakeStream([[Delta(0, text, 1)] for text in "ab"])
    generation = generation_of(stream)
    encoder = ChatChunks(answer_id="c", model="guide", created=1)
    response = LiveStream("c", generation, encoder, 1, pace=Pace(FOREVER_S))
    await response.next()
    assert texts(await response.next()) == ["a"]
    waiting = asyncio.create_task(response.next())
    await asyncio.sleep(SOON_S)
    assert not waiting.done()
    waiting.cancel()
    await response.leave()


async def test_all_streams_let_go_at_the_same_time() -> None:
    pace, released = Pace(SOON_S), list[int]()
    for number in range(3):
        pace.at_next(lambda number=number: released.append(number))  # type: ignore[misc]  # bound now
        await asyncio.sleep(0)
    await until(lambda: released)
    assert released == [0, 1, 2]
    pace.at_next(lambda: released.append(3))
    await until(lambda: released[-1] == 3)
