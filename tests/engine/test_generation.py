"""One generation's life, on a fake stream."""

from __future__ import annotations

import asyncio

import pytest

from engine.api import EngineStream, Prepared, PreparedPrompt
from engine.generation import Generation
from engine.merged_stream import MergedStream
from protocol.errors import Fault, TwowireError
from protocol.output import Delta
from tests.engine.fakes import FakeStream

PREPARED = Prepared((PreparedPrompt(7, object(), object()),), 7)


class Recorder:
    """An observer that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def started(self) -> None:
        self.told.append("started")

    def first_token(self, after_s: float) -> None:
        self.told.append("first_token")

    def gap(self, since_last_s: float) -> None:
        self.told.append("gap")

    def ended(self, generation: Generation) -> None:
        self.told.append(f"ended:{generation.outcome}")


def generation_of(stream: EngineStream, observer: Recorder | None = None, keepalive_s: float = 15.0) -> Generation:
    return Generation("g", PREPARED, stream, on_end=lambda generation: None, observer=observer, keepalive_s=keepalive_s)


async def test_the_observer_hears_of_each_step() -> None:
    observer = Recorder()
    stream = FakeStream([[Delta(0, "a", 1)], [Delta(0, "", 0)], [Delta(0, "b", 2)]], cached_tokens=5)
    stream.end()
    generation = generation_of(stream, observer)
    assert len([step async for step in generation]) == 3
    assert observer.told == ["started", "first_token", "gap", "ended:completed"]
    assert (generation.usage.prompt_tokens, generation.usage.completion_tokens) == (7, 3)
    assert generation.usage.cached_tokens == 5


async def test_closing_ends_a_reader_that_waits() -> None:
    stream = FakeStream()
    generation = generation_of(stream)
    reading = asyncio.ensure_future(anext(generation, None))
    await asyncio.sleep(0)
    await generation.close()
    async with asyncio.timeout(1):
        assert await reading is None
    assert stream.closed
    assert generation.outcome == "cancelled"


async def test_the_first_outcome_stands() -> None:
    ended: list[Generation] = []
    stream = FakeStream([[Delta(0, "a", 1)]])
    generation = Generation("g", PREPARED, stream, on_end=ended.append)
    await generation.close()
    await generation.close("failed")
    assert generation.outcome == "cancelled"
    assert ended == [generation]


async def test_a_failure_reaches_the_reader_and_is_remembered() -> None:
    stream = FakeStream([[Delta(0, "a", 1)]])
    generation = generation_of(stream)
    await anext(generation)
    stream.fail(TwowireError(Fault.ENGINE_DIED, "gone"))
    with pytest.raises(TwowireError):
        await anext(generation)
    assert generation.outcome == "failed"
    assert generation.error is not None
    assert generation.error.fault is Fault.ENGINE_DIED


async def test_an_abort_is_read_once_even_by_a_reader_that_comes_later() -> None:
    generation = generation_of(FakeStream([[Delta(0, "a", 1)]]))
    await generation.abort(TwowireError(Fault.DRAINING, "stopping"))
    with pytest.raises(TwowireError):
        await anext(generation)
    assert await anext(generation, None) is None


async def test_silence_gives_empty_steps_and_no_more_than_that() -> None:
    stream = FakeStream()
    generation = generation_of(stream, keepalive_s=0.02)
    async with asyncio.timeout(5):
        assert await anext(generation) == []
        assert await anext(generation) == []
        stream.feed(Delta(0, "a", 1, "stop"))
        stream.end()
        texts = [delta.text async for step in generation for delta in step]
    assert texts == ["a"]


async def test_a_cancelled_reader_leaves_nothing_running() -> None:
    stream = FakeStream()
    generation = generation_of(stream)

    async def read() -> None:
        async with generation:
            async for _ in generation:
                pass

    task = asyncio.create_task(read())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stream.closed
    assert generation.outcome == "cancelled"


async def test_merged_streams_keep_their_choices_apart() -> None:
    first = FakeStream([[Delta(0, "a", 1), Delta(1, "b", 1)]])
    second = FakeStream([[Delta(1, "d", 1)]])
    first.end()
    second.end()
    merged = MergedStream([first, second], n=2)
    seen: list[tuple[int, str]] = []
    while (step := await merged.next()) is not None:
        seen.extend((delta.index, delta.text) for delta in step)
    assert sorted(seen) == [(0, "a"), (1, "b"), (3, "d")]


async def test_a_failing_stream_fails_the_merged_one_and_closing_ends_the_rest() -> None:
    failing, waiting = FakeStream(), FakeStream()
    merged = MergedStream([failing, waiting], n=1)
    failing.fail(TwowireError(Fault.INTERNAL, "no"))
    with pytest.raises(TwowireError):
        await merged.next()
    await merged.close()
    assert failing.closed
    assert waiting.closed
    assert len(asyncio.all_tasks()) == 1


async def test_a_merged_stream_can_be_woken_and_closed_while_somebody_waits() -> None:
    merged = MergedStream([FakeStream(), FakeStream()], n=1)
    reading = asyncio.ensure_future(merged.next())
    await asyncio.sleep(0)
    merged.wake()
    async with asyncio.timeout(1):
        assert await reading == []
    reading = asyncio.ensure_future(merged.next())
    await asyncio.sleep(0)
    await merged.close()
    async with asyncio.timeout(1):
        assert await reading is None
    assert len(asyncio.all_tasks()) == 1
