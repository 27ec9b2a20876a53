"""The channel's bounds: what comes in, how much of it, and how a connection ends. On a fake engine."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from app.channel.limits import (
    DRAINING,
    GOING_AWAY,
    HEARTBEAT_MISSED,
    MESSAGE_TOO_BIG,
    PROTOCOL_ABUSE,
    SERVER_FAULT,
)
from app.channel.session import MAX_ANSWERS, PARSED_ASIDE_CHARS
from app.config.channel import ChannelLimits
from engine.admission.admission import AdmissionLimits
from protocol.output import Delta
from tests.app.channel.channels import (
    BODY,
    CREATE,
    DONE,
    Clock,
    Harness,
    begin_stream,
    open_harness,
    turn,
    until,
)
from tests.engine.fakes import words

# -- what comes in ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message", ["", " ", "{", "[]", "null", '{"type":1}', '{"type":"x"}', b"{}", b"", None, "\ud800"]
)
async def test_garbage_is_answered_and_nothing_ends(message: str | bytes | None) -> None:
    async with open_harness() as harness:
        peer = harness.peer()
        await begin_stream(harness, peer)
        await peer.say(message)
        error = await peer.wait_for("error")
        assert (error["status"], sorted(error["error"])) == (400, ["code", "message", "param", "type"])
        harness.streams[0].end()
        assert (await peer.wait_for(DONE))["status"] == "completed"
        assert not peer.channel.ended.done()


async def test_a_ping_is_answered_with_its_own_t() -> None:
    async with open_harness() as harness:
        peer = harness.peer()
        for t in (1, 2.5, "x", 2**63, None):
            await peer.say({"type": "ping", "t": t})
        await peer.wait_for("pong", count=5)
        assert [frame["t"] for frame in peer.of("pong")] == [1, 2.5, "x", 2**63, None]


async def test_unknown_fields_are_ignored() -> None:
    async with open_harness(steps=words("a"), ends=True) as harness:
        peer = harness.peer()
        await peer.create("a", colour="red", resume=None)
        assert (await peer.wait_for(DONE))["status"] == "completed"


async def test_more_messages_than_allowed_end_it() -> None:
    async with open_harness() as harness:
        clock = Clock()
        peer = harness.peer(ChannelLimits(max_messages_per_s=10), clock=clock)
        for _ in range(20):
            await peer.say({"type": "pong"})
        clock.now += 0.5
        for _ in range(5):
            await peer.say({"type": "pong"})
        assert not peer.channel.ended.done()
        await peer.say({"type": "pong"})
        assert peer.channel.ended.result().code == PROTOCOL_ABUSE


async def test_a_message_over_the_limit_ends_it_counted_in_bytes() -> None:
    async with open_harness() as harness:
        peer = harness.peer(ChannelLimits(max_message_bytes=1024))
        await peer.say("x" * 1024)
        assert not peer.channel.ended.done()
        await peer.say("ä" * 513)
        assert peer.channel.ended.result().code == MESSAGE_TOO_BIG


async def test_a_client_that_makes_answers_and_never_reads_them_is_cut_off() -> None:
    async with open_harness() as harness:
        peer = harness.peer(ChannelLimits(max_messages_per_s=10_000))
        peer.takes.clear()
        for _ in range(MAX_ANSWERS + 2):
            await peer.say({"type": "ping"})
        assert peer.channel.ended.result().code == PROTOCOL_ABUSE


async def test_a_large_message_that_is_still_being_parsed_when_it_closes_starts_nothing() -> None:
    async with open_harness() as harness:
        parsing, may_end = asyncio.Event(), asyncio.Event()

        async def aside(function: object, message: str) -> object:
            parsing.set()
            await may_end.wait()
            assert callable(function)
            return function(message)

        peer = harness.peer(parse_aside=aside)
        text = orjson.dumps({"type": CREATE, "stream_id": "a", "body": BODY, "x": "x" * PARSED_ASIDE_CHARS}).decode()
        receiving = asyncio.create_task(peer.say(text))
        await parsing.wait()
        await peer.channel.close()
        may_end.set()
        await receiving
        await turn()
        assert not harness.streams


# -- the end ---------------------------------------------------------------------------------------------------------


async def test_close_ends_every_generation_at_once() -> None:
    async with open_harness(admission=AdmissionLimits(8, 8)) as harness:
        peer = harness.peer()
        for name in "abc":
            await begin_stream(harness, peer, name)
        await peer.channel.close()
        assert [stream.closed for stream in harness.streams] == [True] * 3
        assert harness.manager.sequences == 0


async def test_close_ends_what_a_stuck_socket_holds_up() -> None:
    async with open_harness() as harness:
        peer = harness.peer()
        await begin_stream(harness, peer)
        peer.takes.clear()
        harness.streams[0].feed(Delta(0, "y", 1))
        await until(lambda: peer.text() == "xy")
        await peer.channel.close()
        assert harness.streams[0].closed


async def test_a_close_that_is_cut_short_still_leaves_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_harness() as harness:
        peer = harness.peer()
        await begin_stream(harness, peer)
        close, leaving, may_leave = harness.streams[0].close, asyncio.Event(), asyncio.Event()

        async def slow_close() -> None:
            leaving.set()
            await may_leave.wait()
            await close()

        monkeypatch.setattr(harness.streams[0], "close", slow_close)
        closing = asyncio.create_task(peer.channel.close())
        await leaving.wait()
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        may_leave.set()
        await peer.channel.close()
        assert harness.streams[0].closed


async def test_a_send_that_fails_ends_it() -> None:
    async with open_harness() as harness:
        peer = harness.peer()
        await begin_stream(harness, peer)
        peer.failure = ConnectionResetError()
        harness.streams[0].feed(Delta(0, "y", 1))
        async with asyncio.timeout(5):
            assert (await peer.channel.ended).code == SERVER_FAULT


async def test_a_client_that_does_not_read_is_given_up_after_the_deadline() -> None:
    async with open_harness() as harness:
        peer = harness.peer(ChannelLimits(send_timeout_s=0.05))
        await begin_stream(harness, peer)
        peer.takes.clear()
        harness.streams[0].feed(Delta(0, "y", 1))
        async with asyncio.timeout(5):
            closing = await peer.channel.ended
        assert (closing.code, closing.is_stuck) == (SERVER_FAULT, True)


async def test_a_slow_reader_gets_fewer_larger_sends_and_keeps_no_queue() -> None:
    async with open_harness() as harness:
        peer = harness.peer()
        await begin_stream(harness, peer)
        peer.takes.clear()
        harness.streams[0].feed(Delta(0, "y", 1))
        await until(lambda: peer.text() == "xy")
        for _ in range(100):
            harness.streams[0].feed(Delta(0, "z", 1))
        await turn()
        assert peer.text() == "xy", "it pulled although the socket was busy"


class Beating:
    """A peer on a clock that the test sets: the channel looks at it every few milliseconds."""

    def __init__(self, harness: Harness, limits: ChannelLimits) -> None:
        self.clock = Clock()
        self.peer = harness.peer(limits, clock=self.clock)

    async def beat(self, *, is_answered: bool = True) -> None:
        """The time of a ping has come."""
        count = len(self.peer.of("ping")) + 1
        self.clock.now += 0.021  # A little more: 1000.02 - 1000.0 is less than 0.02.
        await self.peer.wait_for("ping", count=count)
        if is_answered:
            await self.peer.say({"type": "pong"})

    async def ends(self, after_s: float) -> int:
        """Ends `after_s` later, with the code that is returned."""
        self.clock.now += after_s
        async with asyncio.timeout(5):
            return (await self.peer.channel.ended).code


async def test_it_pings_and_a_client_that_stays_silent_is_missed() -> None:
    async with open_harness() as harness:
        beating = Beating(harness, ChannelLimits(ping_interval_s=0.02, idle_timeout_s=0.1))
        for _ in range(4):
            await beating.beat(is_answered=False)
        assert await beating.ends(0.02) == HEARTBEAT_MISSED


async def test_a_client_that_answers_pings_is_kept() -> None:
    async with open_harness() as harness:
        beating = Beating(harness, ChannelLimits(ping_interval_s=0.02, idle_timeout_s=0.1))
        for _ in range(20):
            await beating.beat()
        assert not beating.peer.channel.ended.done()


async def test_an_old_connection_is_told_and_ended() -> None:
    async with open_harness() as harness:
        beating = Beating(harness, ChannelLimits(max_age_s=0.05))
        await begin_stream(harness, beating.peer)
        assert await beating.ends(0.06) == GOING_AWAY
        assert beating.peer.frames[-1]["error"]["code"] == "connection_too_old"


async def test_a_connection_that_only_beats_is_ended_when_unused_and_not_before() -> None:
    async with open_harness() as harness:
        beating = Beating(harness, ChannelLimits(ping_interval_s=0.02, unused_timeout_s=0.2))
        await begin_stream(harness, beating.peer)
        for _ in range(20):
            await beating.beat()
        assert not beating.peer.channel.ended.done(), "something runs on it"
        harness.streams[0].end()
        await beating.peer.wait_for(DONE)
        for _ in range(9):
            await beating.beat()
        assert not beating.peer.channel.ended.done(), "something ran on it just now"
        assert await beating.ends(0.02) == GOING_AWAY
        assert beating.peer.frames[-1]["error"]["code"] == "connection_unused"


async def test_a_drain_ends_an_idle_connection_at_once_and_another_after_its_last_stream() -> None:
    async with open_harness() as harness:
        idle, busy = harness.peer(), harness.peer()
        await begin_stream(harness, busy)
        for peer in (idle, busy):
            peer.channel.drain()
        assert idle.channel.ended.result().code == DRAINING
        assert not busy.channel.ended.done()
        await busy.create("b", "e2")
        assert (await busy.wait_for("error", "b"))["error"]["code"] == "server_draining"
        harness.streams[0].end()
        async with asyncio.timeout(5):
            assert (await busy.channel.ended).code == DRAINING
        assert busy.of(DONE, "a")[0]["status"] == "completed"
