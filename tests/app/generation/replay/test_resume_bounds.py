"""The replay buffers of resumable replies: how large they grow, what goes first, and that no reader misses anything."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from typing import Any

import pytest

from app.config.channel import ResumeLimits
from app.generation.replay.buffer import BUFFER_BYTES, CHUNK_BYTES, ReplayBuffer
from app.generation.replay.reader import ReplayReader
from engine.admission.admission import AdmissionLimits
from engine.generation import Generation
from protocol.output import Delta
from tests.app.channel.channels import CHUNK, DONE, Harness, open_harness, turn, until
from tests.app.generation.replay.resumables import SMALL, begin


async def test_a_log_that_nobody_reads_drops_its_oldest_and_the_generation_runs_on(small_harness: Harness) -> None:
    lost = await begin(small_harness)
    await lost.lose()
    for _ in range(50):
        await lost.make("x" * 500)
        assert lost.buffer.bytes <= SMALL.log_max_bytes
    assert lost.buffer.bytes > SMALL.log_max_bytes - 1000, "it keeps less than it may"
    assert lost.buffer.last_seq == 51


async def test_the_task_that_pulls_waits_for_a_reader_that_lags_and_nothing_is_lost(small_harness: Harness) -> None:
    slow = await begin(small_harness)
    await until(lambda: slow.peer.of(CHUNK))
    slow.peer.takes.clear()
    for number in range(100):
        slow.stream.feed(Delta(0, f"<{number}>" + "x" * 500, 1))
    await turn(200)
    assert slow.buffer.bytes <= SMALL.log_max_bytes
    assert len(slow.stream._steps) > 50, "it was pulled although the reader lags by a whole buffer"
    slow.peer.takes.set()
    slow.stream.end()
    await slow.peer.wait_for(DONE)
    assert slow.peer.text() == "".join(f"<{number}>" + "x" * 500 for number in range(100))
    assert [frame["seq"] for frame in slow.peer.of(CHUNK)] == list(range(1, 102))


async def test_a_task_that_waits_for_its_reader_goes_on_when_the_reader_leaves(small_harness: Harness) -> None:
    slow = await begin(small_harness)
    await until(lambda: slow.peer.of(CHUNK))
    slow.peer.takes.clear()
    for _ in range(100):
        slow.stream.feed(Delta(0, "x" * 500, 1))
    await turn(200)
    await slow.lose()
    await until(lambda: slow.buffer.last_seq == 101)


async def test_a_chunk_larger_than_the_bound_is_kept_alone(small_harness: Harness) -> None:
    lost = await begin(small_harness)
    await lost.lose()
    await lost.make("a", "x" * 10_000)
    assert (lost.buffer.first_seq, lost.buffer.last_seq) == (3, 3)


async def test_all_together_stay_within_the_bound_and_the_oldest_finished_go_first(small_harness: Harness) -> None:
    finished = []
    for _ in range(4):
        lost = await begin(small_harness)
        await lost.make("x" * 2000)
        lost.stream.end()
        await lost.peer.wait_for(DONE)
        finished.append(lost)
    assert len(small_harness.replays) == 4
    running = await begin(small_harness)
    await running.lose()
    await running.make(*["y" * 500] * 20)
    assert small_harness.replays.bytes <= SMALL.logs_max_bytes
    left = [lost.id in small_harness.replays._buffers for lost in finished]
    assert left == sorted(left), "not the oldest"
    assert not left[0]


async def test_one_that_begins_where_running_ones_hold_all_gets_room_from_them() -> None:
    limits = ResumeLimits(log_max_bytes=16384, logs_max_bytes=32768)
    async with open_harness(resume=limits, admission=AdmissionLimits(400, 0)) as harness:
        replays = harness.services.replays
        running = [await begin(harness) for _ in range(3)]
        for one in running:
            await one.lose()
        for _ in range(30):
            for one in running:
                await one.make("x" * 500)
        assert replays.bytes > limits.logs_max_bytes - 1000, "there is room: the test shows nothing"
        late = await begin(harness)
        assert replays.bytes <= limits.logs_max_bytes
        await late.lose()
        for _ in range(5):
            await late.make("y" * 500)
            assert replays.bytes <= limits.logs_max_bytes
        assert late.buffer.last_seq == 6


async def fill(harness: Harness, owner: str, count: int) -> list[str]:
    """The ids of so many finished generations of `owner`'s, about 2,500 bytes and `BUFFER_BYTES` each."""
    ids = []
    for _ in range(count):
        one = await begin(harness, owner)
        await one.make("x" * 2000)
        one.stream.end()
        await one.peer.wait_for(DONE)
        await one.lose()
        ids.append(one.id)
    return ids


async def test_a_key_that_floods_pushes_out_its_own_and_no_others() -> None:
    limits = ResumeLimits(logs_max_bytes=64_000, owner_max_bytes=32_000)
    async with open_harness(resume=limits) as harness:
        anothers = await fill(harness, "key 2", 2)
        own = await fill(harness, "key 1", 20)
        left = set(harness.replays._buffers)
        assert set(anothers) <= left
        assert 0 < len(left - set(anothers)) < 6
        assert own[-1] in left
        assert harness.replays._by_owner["key 1"] <= limits.owner_max_bytes  # type: ignore[operator]  # it is set


async def test_where_all_is_full_the_one_with_most_makes_room() -> None:
    async with open_harness(resume=ResumeLimits(logs_max_bytes=64_000)) as harness:
        await fill(harness, "key 1", 20)
        anothers = await fill(harness, "key 2", 2)
        assert set(anothers) <= set(harness.replays._buffers)


async def test_at_the_bound_readers_that_keep_up_and_those_that_lag_still_get_everything() -> None:
    limits = ResumeLimits(log_max_bytes=32768, logs_max_bytes=3 * BUFFER_BYTES + 9000)
    async with open_harness(resume=limits) as harness:
        detached, quick, slow = await begin(harness), await begin(harness), await begin(harness)
        await detached.lose()
        await detached.make(*["x" * 500] * 20)
        slow.peer.takes.clear()
        for number in range(40):
            for one in (quick, slow):
                one.stream.feed(Delta(0, f"{number:3}" + "y" * 300, 1))
        await turn(400)
        assert harness.replays.bytes <= limits.logs_max_bytes + 3 * (CHUNK_BYTES + 800), "more than a chunk each above"
        slow.peer.takes.set()
        for one in (quick, slow):
            one.stream.end()
            assert (await one.peer.wait_for(DONE))["status"] == "completed"
            assert one.peer.text() == "".join(f"{number:3}" + "y" * 300 for number in range(40))


async def test_many_short_answers_are_bounded_too() -> None:
    limits = ResumeLimits(logs_max_bytes=20 * BUFFER_BYTES)
    async with open_harness(resume=limits) as harness:
        for _ in range(60):
            short = await begin(harness)
            short.stream.end()
            await short.peer.wait_for(DONE)
            await short.lose()
            assert harness.replays.bytes <= limits.logs_max_bytes
        assert 10 < len(harness.replays) < 20


async def test_what_is_counted_is_what_it_takes(harness: Harness) -> None:
    async def fill() -> None:
        lost = await begin(harness)
        await lost.make(*["word "] * 100)
        lost.stream.end()
        await lost.peer.wait_for(DONE)
        await lost.lose()
        harness.peers.clear()
        harness.streams.clear()

    await fill()
    gc.collect()
    counted = harness.replays.bytes
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(50):
            await fill()
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    counted = harness.replays.bytes - counted
    print(f"50 buffers of 100 chunks: {taken} bytes taken, {counted} counted")
    assert 0.7 * taken < counted < 1.5 * taken


async def test_a_log_that_is_dropped_before_it_began_leaves_no_generation(harness: Harness) -> None:
    kept: list[ReplayBuffer] = []
    keep = harness.replays.keep

    async def keep_and_drop(*arguments: Any) -> ReplayReader:
        reader = await keep(*arguments)
        kept.append(harness.replays._buffers[reader.id])
        harness.replays._start_discard(kept[0])
        return reader

    harness.replays.keep = keep_and_drop  # type: ignore[method-assign,assignment]  # the moment that a test cannot hit otherwise
    peer = harness.peer()
    await peer.create("a", resume={"grace_s": 60})
    await peer.wait_for(DONE)
    assert harness.streams[0].closed
    assert harness.manager.sequences == 0


async def test_the_reader_is_told_of_silence(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = await begin(harness)
    await until(lambda: quiet.peer.of(CHUNK))
    await quiet.lose()
    reader = await quiet.read(1)
    waiting = asyncio.create_task(reader.next())
    await turn()
    monkeypatch.setattr(Generation, "is_silent", True)
    quiet.stream.feed()
    async with asyncio.timeout(5):
        assert await waiting == []
