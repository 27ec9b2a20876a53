"""The channel: what a client says goes in, what it would receive comes out. On a fake engine."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

import orjson
import pytest

from app.channel import MAX_ANSWERS, PARSED_ASIDE_CHARS
from app.channel_limits import (
    DRAINING,
    GOING_AWAY,
    HEARTBEAT_MISSED,
    MESSAGE_TOO_BIG,
    PROTOCOL_ABUSE,
    SERVER_FAULT,
    ChannelLimits,
)
from engine.manager import AdmissionLimits
from protocol.errors import Fault, TwowireError
from protocol.pieces import Piece
from tests.app.channels import BODY, CHUNK, CREATE, CREATED, DONE, Clock, House, Peer, open_house, turn, until
from tests.engine.fakes import words

ENGINE_FAILED = TwowireError(Fault.ENGINE_DIED, "The engine died.", retry_after_s=5)


async def begin(house: House, peer: Peer, stream_id: str = "a", **more: Any) -> None:
    """Create a stream that has said «x» and goes on."""
    count = len(house.streams)
    await peer.create(stream_id, **more)
    await until(lambda: len(house.streams) > count)
    house.streams[-1].feed(Piece(0, "x", 1))
    await until(lambda: peer.text(stream_id) == "x")


def kinds(peer: Peer) -> list[str]:
    return [frame["type"].removeprefix("chat.completion.") for frame in peer.frames]


# -- a stream --------------------------------------------------------------------------------------------------------


async def test_it_says_first_who_it_is_and_what_it_allows() -> None:
    async with open_house() as house:
        limits = ChannelLimits(max_running=3)
        peer = house.peer(limits)
        ready = await peer.wait_for("connection.ready")
        assert ready == {"type": "connection.ready", "connection_id": "connection", "limits": asdict(limits)}


async def test_a_create_is_answered_by_its_chunks_and_one_done() -> None:
    async with open_house(steps=words("a", "b"), ends=True) as house:
        peer = house.peer()
        await peer.create("s.1", "e1")
        done = await peer.wait_for(DONE)
        assert kinds(peer) == ["connection.ready", "created", "chunk", "chunk", "chunk", "done"]
        created = peer.of(CREATED)[0]
        assert (created["stream_id"], created["event_id"]) == ("s.1", "e1")
        assert created["id"].startswith("chatcmpl-")
        assert "resume_token" not in created
        assert [frame["seq"] for frame in peer.of(CHUNK)] == [1, 2, 3]
        assert {frame["data"]["id"] for frame in peer.of(CHUNK)} == {created["id"]}
        assert peer.text() == "ab"
        assert (done["stream_id"], done["seq"], done["status"]) == ("s.1", 3, "completed")
        assert (done["usage"]["prompt_tokens"], done["usage"]["completion_tokens"]) == (3, 2)


async def test_the_chunk_is_the_last_of_its_frame_and_the_very_bytes_of_the_encoder() -> None:
    async with open_house(steps=words("ä\u2028"), ends=True) as house:
        peer = house.peer()
        await peer.create()
        await peer.wait_for(DONE)
        for raw, frame in zip(peer.raw, peer.frames, strict=True):
            if frame["type"] == CHUNK:
                head, _, tail = raw.partition(b',"data":')
                assert orjson.loads(head + b"}")["seq"] == frame["seq"]
                assert tail == orjson.dumps(frame["data"]) + b"}"


async def test_streams_of_one_connection_run_side_by_side() -> None:
    async with open_house() as house:
        peer = house.peer()
        await begin(house, peer, "a")
        await begin(house, peer, "b")
        for stream in house.streams:
            stream.feed(Piece(0, "y", 1, "stop"))
            stream.end()
        await peer.wait_for(DONE, count=2)
        assert (peer.text("a"), peer.text("b")) == ("xy", "xy")


async def test_further_streams_wait_for_their_turn_and_those_beyond_are_refused() -> None:
    async with open_house() as house:
        peer = house.peer(ChannelLimits(max_running=1, max_waiting=1))
        await begin(house, peer, "a")
        await peer.create("b")
        await peer.create("c", "e3")
        error = await peer.wait_for("error")
        assert (error["stream_id"], error["event_id"], error["status"]) == ("c", "e3", 429)
        assert error["error"]["code"] == "too_many_streams"
        assert error["retry_after_s"] == 1
        await turn()
        assert len(house.streams) == 1, "the second ran before its turn"
        house.streams[0].end()
        await until(lambda: len(house.streams) == 2)
        house.streams[1].end()
        assert (await peer.wait_for(DONE, "b"))["status"] == "completed"


async def test_the_name_of_an_open_stream_is_refused_and_the_stream_goes_on() -> None:
    async with open_house() as house:
        peer = house.peer()
        await begin(house, peer)
        await peer.create("a", "e2")
        error = await peer.wait_for("error")
        assert "stream_id" not in error, "the open stream would seem to have ended"
        assert (error["event_id"], error["error"]["param"]) == ("e2", "stream_id")
        house.streams[0].end()
        assert (await peer.wait_for(DONE, "a"))["status"] == "completed"
        assert len(house.streams) == 1


async def test_a_name_is_free_again_after_the_terminal_frame() -> None:
    async with open_house(steps=words("a"), ends=True) as house:
        peer = house.peer()
        for count in range(1, 4):
            await peer.create("a")
            await peer.wait_for(DONE, "a", count)
        assert not peer.of("error")


@pytest.mark.parametrize("wrong", ["garbage", "unknown type", "bad body"])
async def test_a_wrong_frame_that_names_an_open_stream_does_not_seem_to_end_it(wrong: str) -> None:
    async with open_house() as house:
        peer = house.peer()
        await begin(house, peer)
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
    async with open_house() as house:
        peer = house.peer()
        await begin(house, peer)
        await peer.create("b", "e2", body={"temperature": 9})
        error = await peer.wait_for("error", "b")
        assert (error["event_id"], error["status"], error["error"]["param"]) == ("e2", 400, "temperature")
        await peer.create("c", body={"model": "other"})
        assert (await peer.wait_for("error", "c"))["status"] == 404
        house.engine.refusal = TwowireError(Fault.QUEUE_FULL, "full", retry_after_s=1)
        await peer.create("d")
        assert (await peer.wait_for("error", "d"))["retry_after_s"] == 1
        house.streams[0].end()
        assert (await peer.wait_for(DONE))["stream_id"] == "a"
        assert len(peer.of(DONE)) == 1


async def test_a_generation_that_fails_midway_says_so_and_then_is_done() -> None:
    async with open_house() as house:
        peer = house.peer()
        await begin(house, peer)
        house.streams[0].fail(ENGINE_FAILED)
        done = await peer.wait_for(DONE)
        assert kinds(peer)[-2:] == ["error", "done"]
        assert (peer.frames[-2]["stream_id"], peer.frames[-2]["error"]["code"]) == ("a", "engine_died")
        assert (done["status"], done["seq"], done["usage"]["completion_tokens"]) == ("failed", 2, 1)


async def test_an_unforeseen_failure_midway_is_an_error_and_then_done() -> None:
    async with open_house() as house:
        peer = house.peer()
        await begin(house, peer)
        house.streams[0].feed(Piece(0, "\ud800", 1))  # Which no encoder can put into JSON.
        await peer.wait_for(DONE)
        assert kinds(peer)[-2:] == ["error", "done"]
        assert peer.frames[-2]["error"]["code"] == "internal_error"
        assert peer.frames[-1]["status"] == "failed"
        assert not peer.channel.ended.done()


# -- cancel ----------------------------------------------------------------------------------------------------------


async def test_cancel_sends_what_was_made_and_ends_with_the_usage() -> None:
    async with open_house() as house:
        peer = house.peer()
        await begin(house, peer)
        peer.takes.clear()
        house.streams[0].feed(Piece(0, "y", 1))
        await peer.cancel()
        await until(lambda: house.streams[0].cancelled)
        assert house.manager.sequences == 0, "its place is free although the socket is busy"
        peer.takes.set()
        done = await peer.wait_for(DONE)
        assert peer.text() == "xy"
        assert (done["status"], done["usage"]["completion_tokens"]) == ("cancelled", 2)
        reasons = {choice.get("finish_reason") for frame in peer.of(CHUNK) for choice in frame["data"]["choices"]}
        assert reasons == {None}, "a finish_reason was invented"


async def test_cancel_leaves_the_neighbours_alone() -> None:
    async with open_house() as house:
        peer = house.peer()
        await begin(house, peer, "a")
        await begin(house, peer, "b")
        await peer.cancel("a")
        await peer.wait_for(DONE, "a")
        house.streams[1].feed(Piece(0, "z", 1, "stop"))
        house.streams[1].end()
        assert (await peer.wait_for(DONE, "b"))["status"] == "completed"
        assert peer.text("b") == "xz"


async def test_cancel_of_what_does_not_run_is_a_404() -> None:
    async with open_house(steps=words("a"), ends=True) as house:
        peer = house.peer()
        await peer.cancel("a", "e1")
        await peer.create("a")
        await peer.wait_for(DONE)
        await peer.cancel("a", "e2")
        await peer.wait_for("error", count=2)
        assert [(frame["event_id"], frame["status"]) for frame in peer.of("error")] == [("e1", 404), ("e2", 404)]


async def test_a_second_cancel_is_a_404_that_does_not_seem_to_end_the_stream() -> None:
    async with open_house() as house:
        peer = house.peer()
        await begin(house, peer)
        peer.takes.clear()
        await peer.cancel("a", "e1")
        await peer.cancel("a", "e2")
        peer.takes.set()
        await peer.wait_for(DONE, "a")
        assert [(frame.get("stream_id"), frame["event_id"]) for frame in peer.of("error")] == [(None, "e2")]


@pytest.mark.parametrize("turns", range(6))
async def test_cancel_before_it_began_is_one_done_at_whatever_moment(turns: int) -> None:
    async with open_house(steps=words("a")[:0]) as house:
        peer = house.peer()
        await peer.create("a")
        await turn(turns)
        await peer.cancel("a")
        done = await peer.wait_for(DONE)
        assert done["status"] == "cancelled"
        await until(lambda: house.manager.sequences == 0)
        assert len(peer.of(DONE)) == 1


async def test_cancel_while_it_waits_for_its_turn() -> None:
    async with open_house() as house:
        peer = house.peer(ChannelLimits(max_running=1))
        await begin(house, peer, "a")
        await peer.create("b")
        await turn()
        await peer.cancel("b")
        done = await peer.wait_for(DONE, "b")
        assert (done["status"], done["seq"]) == ("cancelled", 0)
        assert len(house.streams) == 1


async def test_cancel_of_a_refused_create_whose_error_waits_for_the_socket_does_not_swallow_the_error() -> None:
    async with open_house() as house:
        peer = house.peer()
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
    async with open_house() as house:
        peer = house.peer()
        await begin(house, peer, "a")
        await begin(house, peer, "b")

        async def fail() -> None:
            raise RuntimeError("the engine is gone")

        monkeypatch.setattr(house.streams[0], "cancel", fail)
        await peer.cancel("a")
        await turn()
        assert not peer.channel.ended.done()
        house.streams[1].end()
        assert (await peer.wait_for(DONE, "b"))["status"] == "completed"


# -- what comes in ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message", ["", " ", "{", "[]", "null", '{"type":1}', '{"type":"x"}', b"{}", b"", None, "\ud800"]
)
async def test_garbage_is_answered_and_nothing_ends(message: str | bytes | None) -> None:
    async with open_house() as house:
        peer = house.peer()
        await begin(house, peer)
        await peer.say(message)
        error = await peer.wait_for("error")
        assert (error["status"], sorted(error["error"])) == (400, ["code", "message", "param", "type"])
        house.streams[0].end()
        assert (await peer.wait_for(DONE))["status"] == "completed"
        assert not peer.channel.ended.done()


async def test_a_ping_is_answered_with_its_own_t() -> None:
    async with open_house() as house:
        peer = house.peer()
        for t in (1, 2.5, "x", 2**63, None):
            await peer.say({"type": "ping", "t": t})
        await peer.wait_for("pong", count=5)
        assert [frame["t"] for frame in peer.of("pong")] == [1, 2.5, "x", 2**63, None]


async def test_unknown_fields_are_ignored() -> None:
    async with open_house(steps=words("a"), ends=True) as house:
        peer = house.peer()
        await peer.create("a", colour="red", resume=None)
        assert (await peer.wait_for(DONE))["status"] == "completed"


async def test_more_messages_than_allowed_end_it() -> None:
    async with open_house() as house:
        clock = Clock()
        peer = house.peer(ChannelLimits(max_messages_per_s=10), clock=clock)
        for _ in range(20):
            await peer.say({"type": "pong"})
        clock.now += 0.5
        for _ in range(5):
            await peer.say({"type": "pong"})
        assert not peer.channel.ended.done()
        await peer.say({"type": "pong"})
        assert peer.channel.ended.result().code == PROTOCOL_ABUSE


async def test_a_message_over_the_limit_ends_it_counted_in_bytes() -> None:
    async with open_house() as house:
        peer = house.peer(ChannelLimits(max_message_bytes=1024))
        await peer.say("x" * 1024)
        assert not peer.channel.ended.done()
        await peer.say("ä" * 513)
        assert peer.channel.ended.result().code == MESSAGE_TOO_BIG


async def test_a_client_that_makes_answers_and_never_reads_them_is_cut_off() -> None:
    async with open_house() as house:
        peer = house.peer(ChannelLimits(max_messages_per_s=10_000))
        peer.takes.clear()
        for _ in range(MAX_ANSWERS + 2):
            await peer.say({"type": "ping"})
        assert peer.channel.ended.result().code == PROTOCOL_ABUSE


async def test_a_large_message_that_is_still_being_parsed_when_it_closes_starts_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_house() as house:
        peer = house.peer()
        parsing, may_end = asyncio.Event(), asyncio.Event()

        async def aside(function: object, message: str) -> object:
            parsing.set()
            await may_end.wait()
            assert callable(function)
            return function(message)

        monkeypatch.setattr(asyncio, "to_thread", aside)
        text = orjson.dumps({"type": CREATE, "stream_id": "a", "body": BODY, "x": "x" * PARSED_ASIDE_CHARS}).decode()
        receiving = asyncio.create_task(peer.say(text))
        await parsing.wait()
        await peer.channel.close()
        may_end.set()
        await receiving
        await turn()
        assert not house.streams


# -- the end ---------------------------------------------------------------------------------------------------------


async def test_close_ends_every_generation_at_once() -> None:
    async with open_house(admission=AdmissionLimits(8, 8)) as house:
        peer = house.peer()
        for name in "abc":
            await begin(house, peer, name)
        await peer.channel.close()
        assert [stream.closed for stream in house.streams] == [True] * 3
        assert house.manager.sequences == 0


async def test_close_ends_what_a_stuck_socket_holds_up() -> None:
    async with open_house() as house:
        peer = house.peer()
        await begin(house, peer)
        peer.takes.clear()
        house.streams[0].feed(Piece(0, "y", 1))
        await until(lambda: peer.text() == "xy")
        await peer.channel.close()
        assert house.streams[0].closed


async def test_a_close_that_is_cut_short_still_leaves_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_house() as house:
        peer = house.peer()
        await begin(house, peer)
        close, leaving, may_leave = house.streams[0].close, asyncio.Event(), asyncio.Event()

        async def slow_close() -> None:
            leaving.set()
            await may_leave.wait()
            await close()

        monkeypatch.setattr(house.streams[0], "close", slow_close)
        closing = asyncio.create_task(peer.channel.close())
        await leaving.wait()
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        may_leave.set()
        await peer.channel.close()
        assert house.streams[0].closed


async def test_a_send_that_fails_ends_it() -> None:
    async with open_house() as house:
        peer = house.peer()
        await begin(house, peer)
        peer.failure = ConnectionResetError()
        house.streams[0].feed(Piece(0, "y", 1))
        async with asyncio.timeout(5):
            assert (await peer.channel.ended).code == SERVER_FAULT


async def test_a_client_that_does_not_read_is_given_up_after_the_deadline() -> None:
    async with open_house() as house:
        peer = house.peer(ChannelLimits(send_timeout_s=0.05))
        await begin(house, peer)
        peer.takes.clear()
        house.streams[0].feed(Piece(0, "y", 1))
        async with asyncio.timeout(5):
            closing = await peer.channel.ended
        assert (closing.code, closing.is_stuck) == (SERVER_FAULT, True)


async def test_a_slow_reader_gets_fewer_larger_sends_and_keeps_no_queue() -> None:
    async with open_house() as house:
        peer = house.peer()
        await begin(house, peer)
        peer.takes.clear()
        house.streams[0].feed(Piece(0, "y", 1))
        await until(lambda: peer.text() == "xy")
        for _ in range(100):
            house.streams[0].feed(Piece(0, "z", 1))
        await turn()
        assert peer.text() == "xy", "it pulled although the socket was busy"


async def test_it_pings_and_a_client_that_stays_silent_is_missed() -> None:
    async with open_house() as house:
        peer = house.peer(ChannelLimits(ping_interval_s=0.02, idle_timeout_s=0.1))
        async with asyncio.timeout(5):
            closing = await peer.channel.ended
        assert closing.code == HEARTBEAT_MISSED
        assert len(peer.of("ping")) >= 2


async def test_a_client_that_answers_pings_is_kept() -> None:
    async with open_house() as house:
        peer = house.peer(ChannelLimits(ping_interval_s=0.02, idle_timeout_s=0.1))
        for count in range(1, 21):
            await peer.wait_for("ping", count=count)
            await peer.say({"type": "pong"})
        assert not peer.channel.ended.done()


async def test_an_old_connection_is_told_and_ended() -> None:
    async with open_house() as house:
        peer = house.peer(ChannelLimits(max_age_s=0.05))
        await begin(house, peer)
        async with asyncio.timeout(5):
            closing = await peer.channel.ended
        assert closing.code == GOING_AWAY
        assert peer.frames[-1]["error"]["code"] == "connection_too_old"


async def test_a_drain_ends_an_idle_connection_at_once_and_another_after_its_last_stream() -> None:
    async with open_house() as house:
        idle, busy = house.peer(), house.peer()
        await begin(house, busy)
        for peer in (idle, busy):
            peer.channel.drain()
        assert idle.channel.ended.result().code == DRAINING
        assert not busy.channel.ended.done()
        await busy.create("b", "e2")
        assert (await busy.wait_for("error", "b"))["error"]["code"] == "server_draining"
        house.streams[0].end()
        async with asyncio.timeout(5):
            assert (await busy.channel.ended).code == DRAINING
        assert busy.of(DONE, "a")[0]["status"] == "completed"
