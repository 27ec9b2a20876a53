"""Followers: who may follow, what they get, and that they cost and change nothing. On a fake engine."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app.generation.replay.buffer import MAX_FOLLOWERS
from app.generation.replay.reader import Follower
from app.generation.replay.store import ReplayStore
from protocol.errors import Fault, TwowireError
from tests.app.channel.channels import CANCEL, CHUNK, CREATED, DONE, RESUMED, Harness, Peer, open_harness, until
from tests.app.generation.replay.resumables import SMALL, Resumable, begin

FOLLOW = "chat.completion.follow"


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    async with open_harness() as harness:
        yield harness


def follow_token(followed: Resumable) -> str:
    token: str = followed.peer.of(CREATED)[0]["follow_token"]
    return token


async def follow(followed: Resumable, *, after: int = 0, owner: str | None = None, token: str | None = None) -> Peer:
    """A follower on a connection of its own; its stream is `f`."""
    peer = followed.harness.peer(owner=owner)
    fields = {"id": followed.id, "follow_token": token or follow_token(followed), "starting_after": after}
    await peer.say({"type": FOLLOW, "stream_id": "f", "event_id": "e", **fields})
    return peer


async def follower_of(replays: ReplayStore, followed: Resumable) -> Follower:
    follower = await replays.follow(followed.id, follow_token(followed), 0)
    assert isinstance(follower, Follower)
    return follower


async def test_a_follower_gets_what_the_reader_gets_and_the_reader_keeps_it(harness: Harness) -> None:
    followed = await begin(harness)
    await followed.make("a", "b")
    peer = await follow(followed, owner="another key")
    resumed = await peer.wait_for(RESUMED)
    assert (resumed["first_seq"], resumed["last_seq"]) == (1, 3)
    await followed.make("c")
    followed.stream.end()
    ends = [await one.wait_for(DONE) for one in (peer, followed.peer)]
    assert peer.text() == followed.peer.text() == "abc"
    assert {(end["status"], end["seq"]) for end in ends} == {("completed", 4)}
    data = [[raw[raw.index(b'"data":') :] for raw in one.raw if b'"data":' in raw] for one in (peer, followed.peer)]
    assert data[0] == data[1]


async def test_a_follower_may_begin_in_the_middle(harness: Harness) -> None:
    followed = await begin(harness)
    await followed.make("a", "b")
    peer = await follow(followed, after=2)
    await until(lambda: peer.text() == "b")
    assert [frame["seq"] for frame in peer.of(CHUNK)] == [3]


async def test_a_wrong_token_is_as_unknown_as_a_wrong_id_and_no_other_token_will_do(harness: Harness) -> None:
    followed = await begin(harness)
    for token in ("wrong", followed.token):
        peer = await follow(followed, token=token)
        error = await peer.wait_for("error")
        assert (error["status"], error["error"]["code"]) == (404, "completion_not_found")
        assert error["stream_id"] == "f"
    with pytest.raises(TwowireError) as refused:
        await harness.replays.resume(followed.id, None, follow_token(followed), 0)
    assert refused.value.fault is Fault.COMPLETION_NOT_FOUND
    with pytest.raises(TwowireError):
        await harness.replays.follow("chatcmpl-unknown", "", 0)


async def test_a_hundred_followers_cost_the_engine_nothing_and_the_server_one_encoding(harness: Harness) -> None:
    followed = await begin(harness)
    peers = [await follow(followed) for _ in range(100)]
    for peer in peers:
        await peer.wait_for(RESUMED)
    assert harness.manager.sequences == 1
    assert len(harness.streams) == 1
    await followed.make(*"abcdef")
    await until(lambda: all(peer.text() == "abcdef" for peer in peers))
    readers = [await follower_of(harness.replays, followed) for _ in range(2)]
    chunks = [await reader.next() or [] for reader in readers]
    # The same object, not just equal bytes: each chunk was encoded once.
    assert all(one is other for one, other in zip(*chunks, strict=True))


async def test_there_is_a_bound(harness: Harness) -> None:
    followed = await begin(harness)
    for _ in range(MAX_FOLLOWERS):
        await follower_of(harness.replays, followed)
    peer = await follow(followed)
    error = await peer.wait_for("error")
    assert (error["status"], error["error"]["code"]) == (429, "too_many_streams")


async def test_a_follower_that_cancels_stops_following_and_nothing_else(harness: Harness) -> None:
    followed = await begin(harness)
    peer = await follow(followed)
    await peer.wait_for(RESUMED)
    await peer.say({"type": CANCEL, "stream_id": "f"})
    assert (await peer.wait_for(DONE))["status"] == "cancelled"
    await followed.make("a")
    await until(lambda: followed.peer.text() == "a")
    assert peer.text() == ""


async def test_a_follower_does_not_keep_a_generation_alive(harness: Harness) -> None:
    followed = await begin(harness, grace_s=0.05)
    peer = await follow(followed)
    await peer.wait_for(RESUMED)
    await followed.lose()
    await until(lambda: harness.manager.sequences == 0)
    assert (await peer.wait_for(DONE))["status"] == "cancelled"


async def test_a_slow_follower_holds_up_nobody_and_is_cut_with_the_reason() -> None:
    async with open_harness(resume=SMALL) as harness:
        followed = await begin(harness)
        slow = await follower_of(harness.replays, followed)
        quick = await follow(followed)
        for number in range(40):
            await followed.make(f"{number:0100d}")
        await until(lambda: len(followed.peer.of(CHUNK)) == len(quick.of(CHUNK)) == 41)
        with pytest.raises(TwowireError, match=r"reads too slowly.*earliest left is") as cut:
            await slow.next()
        assert cut.value.fault is Fault.CHUNKS_GONE
        await slow.leave()


async def test_a_generation_without_resume_has_no_token(harness: Harness) -> None:
    peer = harness.peer()
    await peer.create("a")
    assert "follow_token" not in await peer.wait_for(CREATED)
