"""Replies that survive their wire: who may come back, from where, and how they end. On a fake engine."""

from __future__ import annotations

import asyncio

import pytest

from app.config.channel import ResumeLimits
from protocol.errors import Fault, TwowireError
from tests.app.channel.channels import CHUNK, CREATED, DONE, RESUMED, Harness, open_harness, until
from tests.app.generation.replay.resumables import begin

# -- leaving and coming back -----------------------------------------------------------------------------------------


async def test_it_runs_on_without_its_socket_and_is_read_on_in_without_a_gap(harness: Harness) -> None:
    lost = await begin(harness)
    await lost.make("a", "b")
    await until(lambda: lost.peer.text() == "ab")
    await lost.lose()
    await lost.make("c", "d")
    peer = await lost.come_back(after=2)
    resumed = await peer.wait_for(RESUMED)
    assert (resumed["first_seq"], resumed["last_seq"]) == (3, 5)
    lost.stream.end()
    done = await peer.wait_for(DONE)
    assert [frame["seq"] for frame in peer.of(CHUNK)] == [3, 4, 5]
    assert peer.text() == "bcd"
    assert (done["status"], done["seq"], done["usage"]["completion_tokens"]) == ("completed", 5, 4)


async def test_what_was_sent_before_is_sent_again_byte_for_byte(harness: Harness) -> None:
    lost = await begin(harness)
    await lost.make("a", "b")
    await until(lambda: lost.peer.text() == "ab")
    again = await lost.come_back(after=0, stream_id="a")
    await until(lambda: again.text() == "ab")
    assert [raw for raw in again.raw if b'"data":' in raw] == [raw for raw in lost.peer.raw if b'"data":' in raw]


async def test_without_resume_nothing_outlives_the_socket_nor_can_be_found(harness: Harness) -> None:
    peer = harness.peer()
    await peer.create("a")
    created = await peer.wait_for(CREATED)
    await peer.channel.close()
    assert harness.streams[0].closed
    with pytest.raises(TwowireError) as refused:
        await harness.replays.resume(created["id"], None, "x", 0)
    assert refused.value.fault is Fault.COMPLETION_NOT_FOUND


async def test_nobody_comes_within_the_grace(harness: Harness) -> None:
    lost = await begin(harness, grace_s=0.05)
    await lost.lose()
    assert not lost.stream.closed, "it was ended at once"
    await until(lambda: lost.stream.closed)
    await until(lambda: harness.manager.sequences == 0)
    assert len(harness.replays) == 0


async def test_the_servers_cap_cuts_the_grace() -> None:
    async with open_harness(resume=ResumeLimits(grace_max_s=0.05)) as harness:
        lost = await begin(harness, grace_s=3600)
        await lost.lose()
        await until(lambda: lost.stream.closed)


async def test_who_comes_back_in_time_stops_the_clock() -> None:
    async with open_harness(resume=ResumeLimits(grace_max_s=0.5)) as harness:
        lost = await begin(harness)
        await lost.lose()
        reader = await lost.read(0)
        clock = asyncio.get_running_loop()
        late = clock.time() + 0.8
        await until(lambda: clock.time() > late)
        assert not lost.stream.closed
        await reader.leave()
        await until(lambda: lost.stream.closed)


async def test_a_finished_log_is_kept_for_a_while_and_then_forgotten() -> None:
    async with open_harness(resume=ResumeLimits(keep_finished_s=0.1)) as harness:
        lost = await begin(harness)
        await lost.make("a")
        lost.stream.end()
        await lost.peer.wait_for(DONE)
        reader = await lost.read(0)
        assert len(await reader.next() or []) == 2
        assert await reader.next() is None
        await reader.leave()
        await until(lambda: len(harness.replays) == 0)
        with pytest.raises(TwowireError) as refused:
            await lost.read(0)
        assert refused.value.fault is Fault.COMPLETION_NOT_FOUND


async def test_a_finished_log_is_not_forgotten_under_its_reader() -> None:
    async with open_harness(resume=ResumeLimits(keep_finished_s=0.05)) as harness:
        lost = await begin(harness)
        await lost.lose()
        reader = await lost.read(0)
        await lost.make("a")
        lost.stream.end()
        clock = asyncio.get_running_loop()
        late = clock.time() + 0.2
        await until(lambda: clock.time() > late)
        assert len(await reader.next() or []) == 2
        await reader.leave()
        await until(lambda: len(harness.replays) == 0)


async def test_a_second_reader_takes_over_and_the_first_is_told(harness: Harness) -> None:
    first = await begin(harness)
    await first.make("a")
    second = await first.come_back(after=0)
    error = await first.peer.wait_for("error", "a")
    assert (error["status"], error["error"]["code"]) == (409, "taken_over")
    async with asyncio.timeout(5):
        assert (await first.peer.channel.ended).code == 4409
    await first.make("b")
    first.stream.end()
    assert (await second.wait_for(DONE))["status"] == "completed"
    assert second.text() == "ab"
    assert not first.peer.of(DONE), "it goes on elsewhere"


async def test_the_first_keeps_its_socket_where_other_streams_run_on_it(harness: Harness) -> None:
    first = await begin(harness)
    await first.peer.create("b")
    await first.come_back(after=0)
    await first.peer.wait_for("error", "a")
    harness.streams[-1].end()
    assert (await first.peer.wait_for(DONE, "b"))["status"] == "completed"
    assert not first.peer.channel.ended.done()


async def test_a_resume_on_the_same_socket_takes_over_under_another_name(harness: Harness) -> None:
    first = await begin(harness)
    await first.make("a")
    await first.come_back(after=0, peer=first.peer)
    assert (await first.peer.wait_for("error"))["stream_id"] == "a"
    first.stream.end()
    assert (await first.peer.wait_for(DONE, "back"))["status"] == "completed"


async def test_cancel_right_behind_the_resume_cancels_the_generation(harness: Harness) -> None:
    lost = await begin(harness)
    await lost.make("a")
    await lost.lose()
    peer = await lost.come_back(after=0)
    await peer.cancel("back")
    done = await peer.wait_for(DONE)
    assert (done["status"], done["usage"]["completion_tokens"]) == ("cancelled", 1)
    assert peer.text() == "a"
    assert lost.stream.cancelled


async def test_a_failure_is_told_to_whoever_comes_back(harness: Harness) -> None:
    lost = await begin(harness)
    await lost.make("a")
    await lost.lose()
    lost.stream.fail(TwowireError(Fault.ENGINE_DIED, "The engine died."))
    await until(lambda: lost.buffer.is_finished)
    peer = await lost.come_back(after=0)
    assert (await peer.wait_for(DONE))["status"] == "failed"
    assert peer.of("error")[0]["error"]["code"] == "engine_died"
    assert peer.text() == "a"


# -- who may, and from where -----------------------------------------------------------------------------------------


async def test_wrong_key_wrong_token_expired_and_unknown_look_alike(harness: Harness) -> None:
    mine = await begin(harness, owner="me")
    expired = await begin(harness, owner="me", grace_s=0.01)
    await expired.lose()
    await until(lambda: len(harness.replays) == 1)
    errors = []
    for owner, id_, token in (
        ("other", mine.id, mine.token),
        (None, mine.id, mine.token),
        ("me", mine.id, mine.token[:-1]),
        ("me", mine.id, ""),
        ("me", mine.id, "ä" * 22),
        ("me", expired.id, expired.token),
        ("me", "chatcmpl-unknown", mine.token),
        ("me", "", ""),
    ):
        with pytest.raises(TwowireError) as refused:
            await harness.replays.resume(id_, owner, token, 0)
        errors.append((refused.value.fault, refused.value.message, refused.value.param))
    assert set(errors) == {(Fault.COMPLETION_NOT_FOUND, "There is no such completion, or it is not yours.", "id")}
    assert harness.replays.find(mine.id, "other") is None
    assert await harness.replays.resume(mine.id, "me", mine.token, 0) is not None


async def test_tokens_have_128_bits_and_differ(harness: Harness) -> None:
    tokens = {(await begin(harness)).token for _ in range(20)}
    assert len(tokens) == 20
    assert {len(token) for token in tokens} == {22}  # 16 bytes in base64.


async def test_a_cursor_beyond_the_last_chunk_is_wrong(harness: Harness) -> None:
    lost = await begin(harness)
    await lost.make("a")
    peer = await lost.come_back(after=3)
    error = await peer.wait_for("error", "back")
    assert (error["status"], error["error"]["param"]) == (400, "starting_after")
    assert not lost.peer.of("error"), "the reader was displaced by one that was refused"


async def test_a_cursor_at_the_last_chunk_waits_for_the_next(harness: Harness) -> None:
    lost = await begin(harness)
    await lost.make("a")
    peer = await lost.come_back(after=2)
    await peer.wait_for(RESUMED)
    await lost.make("b")
    assert (await peer.wait_for(CHUNK))["seq"] == 3


async def test_a_cursor_before_what_is_left_is_gone_and_names_the_earliest(small_harness: Harness) -> None:
    lost = await begin(small_harness)
    await lost.lose()
    await lost.make(*["x" * 1000] * 10)
    first = lost.buffer.first_seq
    assert first > 2
    peer = await lost.come_back(after=first - 2)
    error = await peer.wait_for("error", "back")
    assert (error["status"], error["error"]["code"]) == (410, "chunks_gone")
    assert str(first) in error["error"]["message"]
    peer = await lost.come_back(after=first - 1)
    assert (await peer.wait_for(CHUNK))["seq"] == first
