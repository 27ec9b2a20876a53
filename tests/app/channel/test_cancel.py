"""Cancelling on the channel: what was made is sent, neighbours go on, and a stream ends once. On a fake engine."""

from __future__ import annotations

import pytest

from app.config.channel import ChannelLimits
from protocol.output import Delta
from tests.app.channel.channels import (
    CHUNK,
    DONE,
    begin_stream,
    open_harness,
    turn,
    until,
)
from tests.engine.fakes import words


async def test_cancel_sends_what_was_made_and_ends_with_the_usage() -> None:
    async with open_harness() as harness:
        peer = harness.peer()
        await begin_stream(harness, peer)
        peer.takes.clear()
        harness.streams[0].feed(Delta(0, "y", 1))
        await peer.cancel()
        await until(lambda: harness.streams[0].cancelled)
        assert harness.manager.sequences == 0, "its place is free although the socket is busy"
        peer.takes.set()
        done = await peer.wait_for(DONE)
        assert peer.text() == "xy"
        assert (done["status"], done["usage"]["completion_tokens"]) == ("cancelled", 2)
        reasons = {choice.get("finish_reason") for frame in peer.of(CHUNK) for choice in frame["data"]["choices"]}
        assert reasons == {None}, "a finish_reason was invented"


async def test_cancel_leaves_the_neighbours_alone() -> None:
    async with open_harness() as harness:
        peer = harness.peer()
        await begin_stream(harness, peer, "a")
        await begin_stream(harness, peer, "b")
        await peer.cancel("a")
        await peer.wait_for(DONE, "a")
        harness.streams[1].feed(Delta(0, "z", 1, "stop"))
        harness.streams[1].end()
        assert (await peer.wait_for(DONE, "b"))["status"] == "completed"
        assert peer.text("b") == "xz"


async def test_cancel_of_what_does_not_run_is_a_404() -> None:
    async with open_harness(steps=words("a"), ends=True) as harness:
        peer = harness.peer()
        await peer.cancel("a", "e1")
        await peer.create("a")
        await peer.wait_for(DONE)
        await peer.cancel("a", "e2")
        await peer.wait_for("error", count=2)
        assert [(frame["event_id"], frame["status"]) for frame in peer.of("error")] == [("e1", 404), ("e2", 404)]


async def test_a_second_cancel_is_a_404_that_does_not_seem_to_end_the_stream() -> None:
    async with open_harness() as harness:
        peer = harness.peer()
        await begin_stream(harness, peer)
        peer.takes.clear()
        await peer.cancel("a", "e1")
        await peer.cancel("a", "e2")
        peer.takes.set()
        await peer.wait_for(DONE, "a")
        assert [(frame.get("stream_id"), frame["event_id"]) for frame in peer.of("error")] == [(None, "e2")]


@pytest.mark.parametrize("turns", range(6))
async def test_cancel_before_it_began_is_one_done_at_whatever_moment(turns: int) -> None:
    async with open_harness(steps=words("a")[:0]) as harness:
        peer = harness.peer()
        await peer.create("a")
        await turn(turns)
        await peer.cancel("a")
        done = await peer.wait_for(DONE)
        assert done["status"] == "cancelled"
        await until(lambda: harness.manager.sequences == 0)
        assert len(peer.of(DONE)) == 1


async def test_cancel_while_it_waits_for_its_turn() -> None:
    async with open_harness() as harness:
        peer = harness.peer(ChannelLimits(max_running=1))
        await begin_stream(harness, peer, "a")
        await peer.create("b")
        await turn()
        await peer.cancel("b")
        done = await peer.wait_for(DONE, "b")
        assert (done["status"], done["seq"]) == ("cancelled", 0)
        assert len(harness.streams) == 1


async def test_cancel_of_a_refused_create_whose_error_waits_for_the_socket_does_not_swallow_the_error() -> None:
    async with open_harness() as harness:
        peer = harness.peer()
        await peer.wait_for("connection.ready")
        peer.takes.clear()
        await peer.say({"type": "ping"})
        await peer.wait_for("pong")
        await peer.create("a", "e1", body={"temperature": 9})
        await turn()
        await peer.cancel("a")
        peer.takes.set()
        error = await peer.wait_for("error", "a")
        assert error["event_id"] == "e1"
        await until(lambda: peer.channel.stream_count == 0)


async def test_a_cancel_that_the_engine_fails_at_harms_no_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_harness() as harness:
        peer = harness.peer()
        await begin_stream(harness, peer, "a")
        await begin_stream(harness, peer, "b")

        async def fail() -> None:
            raise RuntimeError("the engine is gone")

        monkeypatch.setattr(harness.streams[0], "cancel", fail)
        await peer.cancel("a")
        await turn()
        assert not peer.channel.ended.done()
        harness.streams[1].end()
        assert (await peer.wait_for(DONE, "b"))["status"] == "completed"
