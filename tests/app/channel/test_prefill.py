"""Prompts that are read ahead on a channel, on a fake engine."""

from __future__ import annotations

from typing import Any

import pytest

from app.config.channel import ChannelLimits
from engine.admission.admission import AdmissionLimits
from protocol.generation import ChatPrompt, ToolChoice
from protocol.output import Delta
from tests.app.channel.channels import BODY, CREATED, Harness, Peer, begin_stream, open_harness, until

PREFILL, PREFILLED = "chat.completion.prefill", "chat.completion.prefilled"
TOOL = {"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}


async def prefill(peer: Peer, event_id: str = "p1", **more: Any) -> None:
    await peer.say({"type": PREFILL, "event_id": event_id, "body": BODY | more})


async def reading(harness: Harness, peer: Peer, event_id: str = "p1", **more: Any) -> None:
    """Have a prompt read, and return while the engine does."""
    count = len(harness.streams)
    await prefill(peer, event_id, **more)
    await until(lambda: len(harness.streams) > count)


async def test_a_prompt_is_read_with_one_token_and_nothing_else_is_sent() -> None:
    async with open_harness() as harness:
        peer = harness.peer()
        asked: dict[str, Any] = {"n": 3, "max_tokens": 50, "logprobs": True, "tools": [TOOL], "tool_choice": "required"}
        await reading(harness, peer, **asked, response_format={"type": "json_object"}, cache_salt="s", seed=1)
        harness.streams[0].feed(Delta(0, "x", 1, "length"))
        harness.streams[0].end()
        answer = await peer.wait_for(PREFILLED)
        assert (answer["event_id"], answer["status"]) == ("p1", "completed")
        assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (3, 1)
        assert [frame["type"] for frame in peer.frames] == ["connection.ready", PREFILLED]
        (request,) = harness.engine.prepared
        assert isinstance(request.prompt, ChatPrompt)
        assert (request.n, request.sampling.max_tokens, request.sampling.logprobs) == (1, 1, None)
        assert request.constraint is None
        assert request.tools is not None
        assert request.tools.choice == ToolChoice("none"), "it stands in the prompt; no grammar is made of it"
        assert request.extras.cache_salt == "s"


async def test_a_create_ends_the_prefill() -> None:
    async with open_harness() as harness:
        peer = harness.peer()
        await reading(harness, peer)
        await peer.create("a")
        answer = await peer.wait_for(PREFILLED)
        assert answer["status"] == "cancelled"
        assert harness.streams[0].closed
        await peer.wait_for(CREATED)
        harness.streams[1].end()


async def test_a_newer_prefill_replaces_the_one_before_and_each_is_answered() -> None:
    async with open_harness() as harness:
        peer = harness.peer()
        await reading(harness, peer, "p1")
        for number in range(2, 6):
            await prefill(peer, f"p{number}")
        await until(lambda: len(peer.of(PREFILLED)) == 4)
        await until(lambda: sum(not stream.closed for stream in harness.streams) == 1)
        assert {frame["event_id"]: frame["status"] for frame in peer.of(PREFILLED)} == dict.fromkeys(
            ("p1", "p2", "p3", "p4"), "cancelled"
        )
        harness.streams[-1].feed(Delta(0, "x", 1, "length"))
        harness.streams[-1].end()
        last = await peer.wait_for(PREFILLED, count=5)
        assert (last["event_id"], last["status"]) == ("p5", "completed")


async def test_without_a_body_reading_ends() -> None:
    async with open_harness() as harness:
        peer = harness.peer()
        await reading(harness, peer)
        await peer.say({"type": PREFILL})
        assert (await peer.wait_for(PREFILLED))["status"] == "cancelled"
        await peer.say({"type": PREFILL})
        assert len(peer.of(PREFILLED)) == 1


async def test_what_is_wrong_is_told_without_a_stream_and_the_connection_goes_on() -> None:
    async with open_harness() as harness:
        peer = harness.peer()
        await prefill(peer, messages=[])
        error = await peer.wait_for("error")
        assert (error["event_id"], error["status"], error["error"]["param"]) == ("p1", 400, "messages")
        assert "stream_id" not in error
        await reading(harness, peer)
        harness.streams[0].end()
        await peer.wait_for(PREFILLED)


async def test_nothing_is_read_ahead_where_that_is_not_offered() -> None:
    async with open_harness() as harness:
        peer = harness.peer(ChannelLimits(max_prefills=0))
        await prefill(peer)
        error = await peer.wait_for("error")
        assert (error["status"], error["error"]["code"]) == (501, "not_implemented")


async def test_nothing_is_read_ahead_while_others_wait() -> None:
    async with open_harness(admission=AdmissionLimits(1, 8)) as harness:
        peer, other = harness.peer(), harness.peer()
        await begin_stream(harness, other, "a")
        await other.create("b")
        await other.wait_for(CREATED, "b")
        await prefill(peer)
        error = await peer.wait_for("error")
        assert (error["status"], error["error"]["code"]) == (503, "queue_full")
        harness.streams[0].end()
        await until(lambda: len(harness.streams) == 2)
        harness.streams[1].end()


@pytest.mark.parametrize("limit", ["--requests-per-minute", "--tokens-per-minute"])
async def test_it_never_uses_up_what_questions_need(limit: str) -> None:
    async with open_harness(flags=(limit, "8"), steps=[[Delta(0, "x", 1, "length")]], ends=True) as harness:
        peer = harness.peer()
        answers = 0
        while not peer.of("error"):
            await prefill(peer)
            answers += 1
            await until(lambda: len(peer.of(PREFILLED)) + len(peer.of("error")) == answers)  # noqa: B023  # at once
        assert peer.of("error")[0]["error"]["code"] == "rate_limit_exceeded"
        assert len(peer.of(PREFILLED)) >= 1
        await peer.create("a")
        await peer.wait_for(CREATED)


async def test_a_connection_that_ends_takes_its_prefill_with_it() -> None:
    async with open_harness() as harness:
        peer = harness.peer()
        await reading(harness, peer)
        await peer.channel.close()
        assert harness.streams[0].closed
        assert not peer.of(PREFILLED)
