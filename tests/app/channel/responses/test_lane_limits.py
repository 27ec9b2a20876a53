"""OpenAI's WebSocket protocol: how many lanes there are, what they are called, and how the connection ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.channel.responses.lanes import MAX_LANES
from app.config.channel import ChannelLimits
from tests.app.channel.channels import Clock
from tests.app.channel.responses.lane_clients import connected, finish, running, until
from tests.engine.fakes import words


async def test_a_connection_has_so_many_named_lanes() -> None:
    async with connected(steps=words("x"), ends=True) as (_, client):
        for number in range(MAX_LANES):
            await client.ask(lane=f"l{number}")
            await client.last(f"l{number}")
        await client.ask(lane="more")
        refused = await client.last("more")
        assert (refused["status"], refused["error"]["code"]) == (400, "websocket_stream_limit_reached")
        assert refused["error"]["param"] == "stream_id"
        await client.ask(lane="l0")
        await client.ask()
        assert (await client.last("l0", 2))["type"] == "response.completed"
        assert (await client.last())["type"] == "response.completed"


async def test_what_is_more_than_may_run_waits_and_what_is_more_than_may_wait_is_refused() -> None:
    limits = ChannelLimits(max_running=1, max_waiting=1)
    async with connected(limits) as (harness, client):
        for lane in ("a", "b", "c"):
            await client.ask(lane=lane)
        assert (await client.last("c"))["error"]["code"] == "too_many_streams"
        finish(await running(harness, 1))
        finish(await running(harness, 2))
        await client.last("b")


@pytest.mark.parametrize("lane", ["", "a b", "ä", "x" * 257, 7])
async def test_a_lane_has_a_plain_name(lane: Any) -> None:
    async with connected() as (_, client):
        await client.ask(lane=lane)
        await until(lambda: client.frames)
        assert (client.frames[0]["error"]["code"], client.frames[0]["error"]["param"]) == (
            "invalid_stream_id",
            "stream_id",
        )


async def test_the_connection_ends_after_an_hour() -> None:
    clock = Clock()
    limits = replace(
        ChannelLimits(), send_timeout_s=0.04
    )  # The clock is checked as often as the shortest of these requires.
    async with connected(limits, clock=clock) as (_, client):
        clock.now += 3601
        closing = await client.channel.ended
        (error,) = client.frames
    assert closing.code == 1001
    assert (error["status"], error["error"]["code"]) == (400, "websocket_connection_limit_reached")


async def test_a_quiet_connection_stays() -> None:
    clock = Clock()
    limits = replace(ChannelLimits(), send_timeout_s=0.04)
    async with connected(limits, clock=clock) as (_, client):
        clock.now += 600
        await until(lambda: client.channel._timer is not None and client.channel._heartbeat._pinged_at == clock.now)
        assert not client.channel.ended.done()
        assert client.frames == []


async def test_a_drain_lets_responses_end_and_refuses_what_waits() -> None:
    async with connected() as (harness, client):
        await client.ask("one", "a")
        await client.ask("two", "a")
        stream = await running(harness, 1)
        client.channel.drain()
        await client.ask("three", "b")
        assert (await client.last("b"))["error"]["code"] == "server_draining"
        finish(stream)
        closing = await client.channel.ended
        assert closing.code == 1012
        assert [(await client.last("a", count))["type"] for count in (1, 2)] == ["response.completed", "error"]


async def test_closing_the_connection_ends_all() -> None:
    async with connected() as (harness, client):
        await client.ask(lane="a")
        await client.ask(lane="b")
        await running(harness, 2)
        await client.channel.close()
        assert all(stream.closed for stream in harness.streams)
