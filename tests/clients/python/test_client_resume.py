"""The Python client when the connection is lost: it resumes at the right place, or says that it cannot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.app.channel.fake_channel import LIMITS, Peer, fake
from twowire_client import Channel, ChannelError, ConnectionLost, Generation

MESSAGES = [{"role": "user", "content": "Hello"}]
NOT_THERE = {"message": "There is no such completion.", "type": "t", "param": "id", "code": "completion_not_found"}


@pytest.fixture(autouse=True)
async def _nothing_is_left() -> AsyncIterator[None]:
    yield
    await asyncio.sleep(0)
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert not left, left


async def create(channel: Channel, **more: Any) -> Generation:
    return await channel.create(model="m", messages=MESSAGES, **more)


async def test_a_lost_connection_is_resumed_after_the_last_chunk_that_came() -> None:
    async def before(peer: Peer) -> None:
        frame = await peer.next("chat.completion.create")
        assert frame["resume"] == {"grace_s": 30}
        await peer.send("chat.completion.created", stream_id="1", event_id="1", id="chatcmpl-1", resume_token="token")
        await peer.chunks("1", 1, "abc")
        await peer.next("chat.completion.create")
        peer.cut()

    async def after(peer: Peer) -> None:
        frame = await peer.next("chat.completion.resume")
        assert (frame["id"], frame["resume_token"], frame["starting_after"]) == ("chatcmpl-1", "token", 3)
        await peer.send("chat.completion.resumed", stream_id="1", event_id=frame["event_id"], first_seq=4, last_seq=4)
        await peer.chunks("1", 3, "cde")  # The first of them is a repetition.
        await peer.close(1012)

    async def at_last(peer: Peer) -> None:
        frame = await peer.next("chat.completion.resume")
        assert frame["starting_after"] == 5
        await peer.send("chat.completion.resumed", stream_id="1", event_id=frame["event_id"], first_seq=6, last_seq=5)
        await peer.done("1", 5)

    async with fake(before, after, at_last) as url, Channel.connect(url) as channel:
        generation = await create(channel, resume_grace_s=30)
        with pytest.raises(ConnectionLost):
            await create(channel, resume_grace_s=30)  # Not admitted yet: it is not known whether it runs.
        assert await generation.text() == "abcde"
        assert generation.status == "completed"


async def test_a_connection_that_is_lost_without_resume_is_an_error_after_the_chunks_that_came() -> None:
    async def script(peer: Peer) -> None:
        name = await peer.create()
        await peer.chunks(name, 1, "abc")
        await peer.close(1012)

    async def again(peer: Peer) -> None:
        name = await peer.create()
        await peer.done(name, 0)

    async with fake(script, again) as url, Channel.connect(url) as channel:
        generation = await create(channel)
        assert len([await anext(generation) for _ in range(3)]) == 3
        with pytest.raises(ConnectionLost) as lost:
            await anext(generation)
        assert lost.value.close_code == 1012
        assert generation.status == "failed"
        assert await (await create(channel)).text() == "", "a new request makes a new connection"


@pytest.mark.parametrize("code", [1008, 4401, 4409])
async def test_after_a_final_close_code_it_does_not_come_back(code: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.create("token")
        await peer.close(code)

    async with fake(script) as url, Channel.connect(url) as channel:
        generation = await create(channel, resume_grace_s=30)
        with pytest.raises(ConnectionLost) as lost:
            await generation.text()
        assert lost.value.close_code == code


async def test_a_resume_that_is_refused_is_an_error() -> None:
    async def before(peer: Peer) -> None:
        await peer.create("token")
        peer.cut()

    async def after(peer: Peer) -> None:
        await peer.refuse(await peer.next("chat.completion.resume"), 404, NOT_THERE)

    async with fake(before, after) as url, Channel.connect(url) as channel:
        generation = await create(channel, resume_grace_s=30)
        with pytest.raises(ChannelError) as refused:
            await generation.text()
        assert (refused.value.status, refused.value.code) == (404, "completion_not_found")


async def test_it_tries_again_while_the_server_has_no_room_and_gives_up_where_it_is_refused() -> None:
    async def before(peer: Peer) -> None:
        await peer.create("token")
        peer.cut()

    async def after(peer: Peer) -> None:
        await peer.next("chat.completion.resume")
        peer.cut()

    async with fake(before, 503, 502, after, 503, 401) as url, Channel.connect(url) as channel:
        generation = await create(channel, resume_grace_s=30)
        with pytest.raises(ChannelError) as refused:
            await generation.text()
        assert (refused.value.status, refused.value.code) == (401, "code_401")


async def test_retries_without_progress_are_bounded() -> None:
    connections = 0

    async def before(peer: Peer) -> None:
        await peer.create("token")
        peer.cut()

    async def in_vain(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        await peer.next("chat.completion.resume")
        peer.cut()

    async with fake(before, *[in_vain] * 3) as url, Channel.connect(url, reconnect_attempts=3) as channel:
        generation = await create(channel, resume_grace_s=30)
        with pytest.raises(ConnectionLost):
            await generation.text()
    assert connections == 3


async def test_a_server_that_falls_silent_is_left_for_a_new_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LIMITS, "idle_timeout_s", 0.1)

    async def silent(peer: Peer) -> None:
        await peer.create("token")

    async def alive(peer: Peer) -> None:
        await peer.next("chat.completion.resume")
        await peer.done("1", 0)

    async with fake(silent, alive) as url, Channel.connect(url) as channel:
        assert await (await create(channel, resume_grace_s=9)).text() == ""


async def test_who_does_not_read_until_the_server_cuts_the_connection_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    # A socket that is not read shows its end only when something is sent.
    monkeypatch.setitem(LIMITS, "ping_interval_s", 0.1)

    async def script(peer: Peer) -> None:
        name = await peer.create("token")
        other = await peer.create("token")
        await peer.chunks(name, 1, "x" * 100)
        await peer.chunks(other, 1, "y")
        await peer.close(1011)

    async def again(peer: Peer) -> None:
        resume = await peer.next("chat.completion.resume")
        assert resume["stream_id"] == "2"
        # On a busy machine the loss is noticed before the chunk.
        await peer.chunks("2", 1, "y"[resume["starting_after"] :])
        await peer.done("2", 1)

    async with fake(script, again) as url, Channel.connect(url, max_buffered_chars=1000) as channel:
        unread, other = await create(channel, resume_grace_s=9), await create(channel, resume_grace_s=9)
        assert await other.text() == "y"
        with pytest.raises(ConnectionLost, match="nobody read"):
            await unread.text()


async def test_a_follower_follows_again_after_a_lost_connection_and_a_wrong_token_is_an_error() -> None:
    async def before(peer: Peer) -> None:
        frame = await peer.next("chat.completion.follow")
        assert (frame["id"], frame["follow_token"], frame["starting_after"]) == ("chatcmpl-1", "token", 1)
        await peer.send("chat.completion.resumed", stream_id="1", event_id="1", first_seq=2, last_seq=2)
        await peer.chunks("1", 2, "b")
        await peer.next("chat.completion.follow")
        await peer.send("error", stream_id="2", event_id="2", status=404, error=NOT_THERE)
        peer.cut()

    async def after(peer: Peer) -> None:
        frame = await peer.next("chat.completion.follow")
        assert frame["starting_after"] == 2
        await peer.send("chat.completion.resumed", stream_id="1", event_id="1", first_seq=3, last_seq=3)
        await peer.chunks("1", 3, "c")
        await peer.done("1", 3)

    async with fake(before, after) as url, Channel.connect(url) as channel:
        generation = await channel.follow("chatcmpl-1", "token", starting_after=1)
        with pytest.raises(ChannelError) as refused:
            await channel.follow("chatcmpl-1", "wrong")
        assert refused.value.status == 404
        assert await generation.text() == "bc"
        assert generation.status == "completed"
