"""Continuing responses on a socket: stored ones, those of the connection, and what a failure forgets."""

from __future__ import annotations

from typing import Any

from protocol.generation import ChatPrompt
from tests.app.channel.channels import Harness
from tests.app.channel.responses.lane_clients import Client, connect, connected, until
from tests.engine.fakes import words

UNKNOWN_CALL = [{"type": "function_call_output", "call_id": "call_unknown", "output": "1"}]


async def answered(client: Client, text: str, lane: str | None = None, **more: Any) -> str:
    """The id of a completed response."""
    count = sum(frame.get("stream_id") == lane and frame["type"] == "response.created" for frame in client.frames)
    await client.ask(text, lane, **more)
    last = await client.last(lane, count + 1)
    assert last["type"] == "response.completed", last
    response_id: str = last["response"]["id"]
    return response_id


async def refused(client: Client, lane: str | None = None, **more: Any) -> tuple[int, str]:
    """The status and code of the error that a create gets."""
    errors = client.of("error")
    await client.ask(lane=lane, **more)
    await until(lambda: len(client.of("error")) > len(errors))
    error = client.of("error")[-1]
    assert error.get("stream_id") == lane
    return error["status"], error["error"]["code"]


def asked(harness: Harness) -> list[str]:
    """What the engine was last asked."""
    prompt = harness.engine.prepared[-1].prompt
    assert isinstance(prompt, ChatPrompt)
    return [message["content"] for message in prompt.messages]


NOT_FOUND = (400, "previous_response_not_found")


async def test_a_response_of_the_connection_is_continued_without_a_store() -> None:
    async with connected(steps=words("x"), ends=True) as (harness, client):
        first = await answered(client, "one", "a")
        second = await answered(client, "two", "a", previous_response_id=first)
        await answered(client, "three", "b", previous_response_id=second)
        assert asked(harness) == ["one", "x", "two", "x", "three"]
        assert len(harness.services.responses) == 0  # type: ignore[arg-type]  # the one in memory


async def test_nothing_of_it_is_left_for_another_connection() -> None:
    async with connected(steps=words("x"), ends=True) as (harness, client):
        first = await answered(client, "one")
        other = connect(harness)
        assert await refused(other, previous_response_id=first) == NOT_FOUND
        await client.channel.close()
        client.backend.close()
        again = connect(harness)
        assert await refused(again, previous_response_id=first) == NOT_FOUND


async def test_a_stored_response_is_continued_on_any_connection_of_its_key() -> None:
    async with connected(steps=words("x"), ends=True) as (harness, _):
        alice, again, bob = (connect(harness, owner=owner) for owner in ("alice", "alice", "bob"))
        first = await answered(alice, "one", store=True)
        await answered(again, "two", previous_response_id=first)
        assert asked(harness) == ["one", "x", "two"]
        assert await refused(bob, previous_response_id=first) == NOT_FOUND
        for client in (alice, again, bob):
            client.backend.close()


async def test_a_chain_may_begin_in_the_store_and_go_on_on_the_connection() -> None:
    async with connected(steps=words("x"), ends=True) as (harness, client):
        first = await answered(client, "one", store=True)
        second = await answered(client, "two", previous_response_id=first)
        await answered(client, "three", previous_response_id=second)
        assert asked(harness) == ["one", "x", "two", "x", "three"]


async def test_a_failed_continuation_is_forgotten_by_its_lane() -> None:
    async with connected(steps=words("x"), ends=True) as (_, client):
        first = await answered(client, "one", "a")
        assert await refused(client, "a", previous_response_id=first, input=UNKNOWN_CALL) == (400, "invalid_value")
        assert await refused(client, "a", previous_response_id=first) == NOT_FOUND


async def test_a_fork_that_fails_leaves_the_other_lanes_response() -> None:
    async with connected(steps=words("x"), ends=True) as (_, client):
        first = await answered(client, "one", "a")
        assert await refused(client, "b", previous_response_id=first, input=UNKNOWN_CALL) == (400, "invalid_value")
        await answered(client, "two", "a", previous_response_id=first)


async def test_an_item_of_the_connection_can_be_referred_to() -> None:
    async with connected(steps=words("x"), ends=True) as (harness, client):
        await answered(client, "one")
        (message,) = client.frames[-1]["response"]["output"]
        reference = {"type": "item_reference", "id": message["id"]}
        await answered(client, "", input=[reference, {"role": "user", "content": "two"}])
        assert asked(harness) == ["x", "two"]
