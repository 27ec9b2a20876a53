"""Requests that wait in the queue are generations like any other. On a fake engine."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from engine.admission.admission import MAX_WAITING_MEDIA, AdmissionLimits
from engine.api import Prepared, PreparedPrompt
from engine.deadlines import Deadlines
from engine.generation import Generation
from engine.manager import EngineManager
from engine.supervisor import EngineState
from protocol.errors import Fault, TwowireError
from protocol.output import Delta
from tests.engine.fakes import FakeFactory, FakeStream
from tests.engine.test_manager import until

PREPARED = Prepared((PreparedPrompt(3, object(), object()),), 3)


class Harness:
    """A manager of a fake engine with one place, or some, whose streams the test drives."""

    def __init__(self, running: int, queued: int, per_client: int | None) -> None:
        self.factory = FakeFactory(ends=False)
        limits = AdmissionLimits(running, queued, per_client)
        self.manager = EngineManager(self.factory, limits, keepalive_s=0.02, backoff_first_s=0.01)

    @property
    def streams(self) -> list[FakeStream]:
        return self.factory.engines[-1].opened

    async def run(self, client: str, deadlines: Deadlines | None = None) -> Generation:
        return await self.manager.run(PREPARED, client=client, deadlines=deadlines)


@asynccontextmanager
async def open_harness(running: int = 1, queued: int = 8, per_client: int | None = None) -> AsyncIterator[Harness]:
    """Fails the test if places, generations or tasks are left when all has been closed."""
    harness = Harness(running, queued, per_client)
    before = asyncio.all_tasks()
    harness.manager.start()
    await harness.manager.wait_settled()
    own = asyncio.all_tasks() - before
    yield harness
    for generation in harness.manager.active:
        await generation.close()
    assert (harness.manager.sequences, harness.manager.waiting) == (0, 0)
    assert all(stream.closed or stream.cancelled for stream in harness.streams), "the engine still works"
    await harness.manager.stop()
    assert asyncio.all_tasks() <= before | own


async def text_of(generation: Generation) -> str:
    async with asyncio.timeout(5), generation:
        return "".join([delta.text async for step in generation for delta in step])


def finish(stream: FakeStream, text: str = "x") -> None:
    stream.feed(Delta(0, text, 1, "stop"))
    stream.end()


async def assert_second_is_served(harness: Harness, reading: asyncio.Task[str]) -> None:
    """It gets the engine's second stream, and reads that to its end."""
    await until(lambda: len(harness.streams) == 2)
    finish(harness.streams[1])
    assert await reading == "x"


async def test_what_waits_is_not_in_the_engine_and_runs_when_its_turn_comes() -> None:
    async with open_harness() as harness:
        first, second = await harness.run("a"), await harness.run("a")
        assert (len(harness.streams), harness.manager.waiting) == (1, 1)
        reading = asyncio.create_task(text_of(second))
        finish(harness.streams[0])
        assert await text_of(first) == "x"
        await until(lambda: len(harness.streams) == 2)
        assert harness.manager.waiting == 0
        harness.streams[1].feed(Delta(0, "y", 1))
        finish(harness.streams[1], "z")
        assert await reading == "yz"
        assert (second.outcome, second.usage.completion_tokens) == ("completed", 2)


async def test_another_clients_request_is_next_although_many_of_one_wait() -> None:
    async with open_harness(running=2) as harness:
        flood = [await harness.run("flood") for _ in range(8)]
        late = await harness.run("late")
        reading = asyncio.create_task(text_of(late))
        await flood[1].close()
        await until(lambda: len(harness.streams) == 3)
        finish(harness.streams[2], "late")
        assert await reading == "late"


async def test_while_it_waits_it_tells_that_all_is_well() -> None:
    async with open_harness() as harness:
        await harness.run("a")
        waiting = await harness.run("b")
        async with asyncio.timeout(5):
            assert [await anext(waiting) for _ in range(3)] == [[], [], []]
        assert len(harness.streams) == 1


@pytest.mark.parametrize("end", ["close", "cancel"])
async def test_what_waits_can_be_ended_and_never_reaches_the_engine(end: str) -> None:
    async with open_harness() as harness:
        first, second = await harness.run("a"), await harness.run("b")
        reading = asyncio.create_task(text_of(second))
        await asyncio.sleep(0)
        await getattr(second, end)()
        assert await reading == ""
        assert (second.outcome, harness.manager.sequences) == ("cancelled", 1)
        await first.close()
        assert len(harness.streams) == 1


async def test_the_deadline_of_the_first_token_holds_in_the_queue() -> None:
    async with open_harness() as harness:
        await harness.run("a")
        waiting = await harness.run("b", Deadlines(first_token_s=0.05))
        with pytest.raises(TwowireError) as late:
            await text_of(waiting)
        assert late.value.fault is Fault.FIRST_TOKEN_TIMEOUT
        assert harness.manager.waiting == 0


async def test_who_is_pushed_out_of_a_full_queue_is_told() -> None:
    async with open_harness(queued=2) as harness:
        flood = [await harness.run("flood") for _ in range(3)]
        reading = asyncio.create_task(text_of(flood[2]))
        await harness.run("late")
        with pytest.raises(TwowireError) as out:
            await reading
        assert out.value.fault is Fault.QUEUE_FULL
        assert out.value.retry_after_s is not None
        with pytest.raises(TwowireError) as refused:
            await harness.run("flood")
        assert refused.value.fault is Fault.QUEUE_FULL
        assert harness.manager.waiting == 2


async def test_one_that_is_closed_while_the_engine_takes_it_in_is_closed_there_too() -> None:
    async with open_harness() as harness:
        first, second = await harness.run("a"), await harness.run("b")
        reading = asyncio.create_task(text_of(second))
        await asyncio.sleep(0)
        await first.close()
        # The fake engine takes a turn of the loop to open a stream.
        await asyncio.sleep(0)
        await second.close()
        assert await reading == ""


async def test_a_refusal_by_the_engine_comes_when_the_turn_does() -> None:
    async with open_harness() as harness:
        first, second, third = await harness.run("a"), await harness.run("b"), await harness.run("c")
        harness.factory.engines[0].refusal = TwowireError(Fault.INVALID_VALUE, "no")
        await first.close()
        with pytest.raises(TwowireError) as refused:
            await text_of(second)
        assert refused.value.fault is Fault.INVALID_VALUE
        harness.factory.engines[0].refusal = None
        reading = asyncio.create_task(text_of(third))
        await assert_second_is_served(harness, reading)


async def test_a_drain_lets_those_who_wait_have_their_turn() -> None:
    async with open_harness() as harness:
        first, second = await harness.run("a"), await harness.run("b")
        reading = asyncio.create_task(text_of(second))
        harness.manager.begin_drain()
        await first.close()
        await assert_second_is_served(harness, reading)


async def test_when_the_engine_dies_those_who_wait_are_told_that_there_is_none() -> None:
    async with open_harness() as harness:
        first, second = await harness.run("a"), await harness.run("b")
        reading = asyncio.create_task(text_of(second))
        harness.factory.error = RuntimeError("not again")
        harness.factory.engines[0].die("killed")
        await until(lambda: harness.manager.state is EngineState.RESTARTING)
        await first.close()
        with pytest.raises(TwowireError) as gone:
            await reading
        assert gone.value.fault is Fault.ENGINE_NOT_READY


class Pixels:
    """A prompt's input that can be told to be gone."""


@pytest.mark.parametrize("how", ["runs", "waited", "cancelled", "ended"])
async def test_the_prompt_is_not_kept_until_the_answer_ends(how: str) -> None:
    async with open_harness() as harness:
        first = None if how == "runs" else await harness.run("a")
        pixels = Pixels()
        known = weakref.ref(pixels)
        prepared = Prepared((PreparedPrompt(3, pixels, object()),), 3)
        generation = await harness.manager.run(prepared)
        del pixels, prepared
        reading = asyncio.ensure_future(anext(generation, None))
        if how == "cancelled":
            await generation.cancel()
        elif how == "ended":
            await generation.close()
        elif first is not None:
            gc.collect()
            assert known() is not None
            await first.close()
        if how in ("runs", "waited"):
            await until(lambda: len(harness.streams) == (1 if how == "runs" else 2))
            harness.streams[-1].feed(Delta(0, "a", 1))
        await reading
        del reading
        gc.collect()
        assert known() is None
        await generation.close()
        if first is not None:
            await first.close()


async def test_the_images_that_wait_are_bounded() -> None:
    half = Prepared((PreparedPrompt(3, object(), object(), media_bytes=MAX_WAITING_MEDIA // 2),), 3)
    async with open_harness() as harness:
        run = harness.manager.run
        first = await run(half)  # It runs, and so does not count.
        second, third = await run(half), await run(half)
        with pytest.raises(TwowireError) as caught:
            await run(half)
        assert (caught.value.fault, harness.manager.waiting) == (Fault.QUEUE_FULL, 2)
        text = await run(PREPARED)  # A text takes none.
        await second.close()
        fourth = await run(half)
        await first.close()  # The third starts, and makes room, too.
        fifth = await run(half)
        for generation in (third, text, fourth, fifth):
            await generation.close()
        queue = harness.manager._admission.queue
        assert queue.waiting_media == 0
