"""The channel: what a client says goes in, what it would receive comes out. On a fake engine."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import orjson
import pytest

from app.config.channel import ChannelLimits
from protocol.errors import Fault, TwowireError
from protocol.output import Delta
from tests.app.channel.channels import (
    CHUNK,
    CREATE,
    CREATED,
    DONE,
    Peer,
    begin_stream,
    open_harness,
    turn,
    until,
)
from tests.engine.fakes import words

ENGINE_FAILED = TwowireError(Fault.ENGINE_DIED, "The engine died.", retry_after_s=5)


def kinds(peer: Peer) -> list[str]:
    return [frame["type"].removeprefix("chat.completion.") for frame in peer.frames]


async def test_it_says_first_who_it_is_and_what_it_allows() -> None:
    async with open_harness() as harness:
        limits = ChannelLimits(max_running=3)
        peer = harness.peer(limits)
        ready = await peer.wait_for("connection.ready")
        assert ready == {"type": "connection.ready", "connection_id": "connection", "limits": asdict(limits)}


async def test_a_create_is_answered_by_its_chunks_and_one_done() -> None:
    async with open_harness(steps=words("a", "b"), ends=True) as harness:
        peer = harness.peer()
        await peer.create("s.1", "e1")
        done = await peer.wait_for(DONE)
        assert kinds(peer) == ["connection.ready", "created", "chunk", "chunk", "chunk", "chunk", "done"]
        created = peer.of(CREATED)[0]
        assert (created["stream_id"], created["event_id"]) == ("s.1", "e1")
        assert created["id"].startswith("chatcmpl-")
        assert "resume_token" not in created
        assert [frame["seq"] for frame in peer.of(CHUNK)] == [1, 2, 3, 4]
        assert {frame["data"]["id"] for frame in peer.of(CHUNK)} == {created["id"]}
        assert peer.text() == "ab"
        last = peer.of(CHUNK)[-1]["data"]["choices"][0]
        assert (last["delta"], last["finish_reason"]) == ({}, "stop")
        assert (done["stream_id"], done["seq"], done["status"]) == ("s.1", 4, "completed")
        assert (done["usage"]["prompt_tokens"], done["usage"]["completion_tokens"]) == (3, 2)


async def test_the_chunk_is_the_last_of_its_frame_and_the_very_bytes_of_the_encoder() -> None:
    async with open_harness(steps=words("ä\u2028"), ends=True) as harness:
        peer = harness.peer()
        await peer.create()
        await peer.wait_for(DONE)
        for raw, frame in zip(peer.raw, peer.frames, strict=True):
            if frame["type"] == CHUNK:
                head, _, tail = raw.partition(b',"data":')
                assert orjson.loads(head + b"}")["seq"] == frame["seq"]
                assert tail == orjson.dumps(frame["data"]) + b"}"


async def test_streams_of_one_connection_run_side_by_side() -> None:
    async with open_harness() as harness:
        peer = harness.peer()
        await begin_stream(harness, peer, "a")
        await begin_stream(harness, peer, "b")
        for stream in harness.streams:
            stream.feed(Delta(0, "y", 1, "stop"))
            stream.end()
        await peer.wait_for(DONE, count=2)
        assert (peer.text("a"), peer.text("b")) == ("xy", "xy")


async def test_further_streams_wait_for_their_turn_and_those_beyond_are_refused() -> None:
    async with open_harness() as harness:
        peer = harness.peer(ChannelLimits(max_running=1, max_waiting=1))
        await begin_stream(harness, peer, "a")
        await peer.create("b")
        await peer.create("c", "e3")
        error = await peer.wait_for("error")
        assert (error["stream_id"], error["event_id"], error["status"]) == ("c", "e3", 429)
        assert error["error"]["code"] == "too_many_streams"
        assert error["retry_after_s"] == 1
        await turn()
        assert len(harness.streams) == 1, "the second ran before its turn"
        harness.streams[0].end()
        await until(lambda: len(harness.streams) == 2)
        harness.streams[1].end()
        assert (await peer.wait_for(DONE, "b"))["status"] == "completed"


async def test_the_name_of_an_open_stream_is_refused_and_the_stream_goes_on() -> None:
    async with open_harness() as harness:
        peer = harness.peer()
        await begin_stream(harness, peer)
        await peer.create("a", "e2")
        error = await peer.wait_for("error")
        assert "stream_id" not in error, "the open stream would seem to have ended"
        assert (error["event_id"], error["error"]["param"]) == ("e2", "stream_id")
        harness.streams[0].end()
        assert (await peer.wait_for(DONE, "a"))["status"] == "completed"
        assert len(harness.streams) == 1


async def test_a_name_is_free_again_after_the_terminal_frame() -> None:
    async with open_harness(steps=words("a"), ends=True) as harness:
        peer = harness.peer()
        for count in range(1, 4):
            await peer.create("a")
            await peer.wait_for(DONE, "a", count)
        assert not peer.of("error")


async def test_the_name_of_a_refused_create_is_not_free_before_its_error_is_sent() -> None:
    async with open_harness() as harness:
        peer = harness.peer()
        await peer.wait_for("connection.ready")
        peer.takes.clear()
        for _ in range(2):
            await peer.say({"type": "ping"})
        await peer.wait_for("pong")
        await peer.say({"type": CREATE, "stream_id": "a", "event_id": "e1", "body": 1})
        await peer.create("a", "e2")
        peer.takes.set()
        await peer.wait_for("error", count=2)
        found = [(frame.get("stream_id"), frame["event_id"]) for frame in peer.of("error")]
        assert found == [("a", "e1"), (None, "e2")]
        await peer.create("a", "e3")
        assert (await peer.wait_for(CREATED))["event_id"] == "e3"


@pytest.mark.parametrize("wrong", ["garbage", "unknown type", "bad body"])
async def test_a_wrong_frame_that_names_an_open_stream_does_not_seem_to_end_it(wrong: str) -> None:
    async with open_harness() as harness:
        peer = harness.peer()
        await begin_stream(harness, peer)
        messages: dict[str, dict[str, Any]] = {
            "garbage": {"type": "chat.completion.resume", "stream_id": "a", "event_id": "e"},
            "unknown type": {"type": "huh", "stream_id": "a", "event_id": "e"},
            "bad body": {"type": CREATE, "stream_id": "a", "event_id": "e", "body": 1},
        }
        await peer.say(messages[wrong])
        error = await peer.wait_for("error")
        assert error["event_id"] == "e"
        assert "stream_id" not in error


async def test_a_refused_create_is_one_error_and_its_neighbours_go_on() -> None:
    async with open_harness() as harness:
        peer = harness.peer()
        await begin_stream(harness, peer)
        await peer.create("b", "e2", body={"temperature": 9})
        error = await peer.wait_for("error", "b")
        assert (error["event_id"], error["status"], error["error"]["param"]) == ("e2", 400, "temperature")
        await peer.create("c", body={"model": "other"})
        assert (await peer.wait_for("error", "c"))["status"] == 404
        harness.engine.refusal = TwowireError(Fault.QUEUE_FULL, "full", retry_after_s=1)
        await peer.create("d")
        assert (await peer.wait_for("error", "d"))["retry_after_s"] == 1
        harness.streams[0].end()
        assert (await peer.wait_for(DONE))["stream_id"] == "a"
        assert len(peer.of(DONE)) == 1


async def test_a_generation_that_fails_midway_says_so_and_then_is_done() -> None:
    async with open_harness() as harness:
        peer = harness.peer()
        await begin_stream(harness, peer)
        harness.streams[0].fail(ENGINE_FAILED)
        done = await peer.wait_for(DONE)
        assert kinds(peer)[-2:] == ["error", "done"]
        assert (peer.frames[-2]["stream_id"], peer.frames[-2]["error"]["code"]) == ("a", "engine_died")
        assert (done["status"], done["seq"], done["usage"]["completion_tokens"]) == ("failed", 2, 1)


async def test_an_unforeseen_failure_midway_is_an_error_and_then_done() -> None:
    async with open_harness() as harness:
        peer = harness.peer()
        await begin_stream(harness, peer)
        harness.streams[0].feed(Delta(0, "\ud800", 1))  # Which no encoder can put into JSON.
        await peer.wait_for(DONE)
        assert kinds(peer)[-2:] == ["error", "done"]
        assert peer.frames[-2]["error"]["code"] == "internal_error"
        assert peer.frames[-1]["status"] == "failed"
        assert not peer.channel.ended.done()
