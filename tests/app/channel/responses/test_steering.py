"""Steering: input for a response that is being made, and the response that goes on from it."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.responses import ResponseSteerAcceptedEvent, ResponseSteerFailedEvent, ResponseSteerPendingEvent

from app.channel.responses.lanes import MAX_RETURNED_BYTES
from app.channel.responses.steering import MAX_PENDING
from protocol.errors import Fault, TwowireError
from protocol.generation import ChatPrompt
from protocol.output import Delta, ToolCallArguments, ToolCallStart
from tests.app.channel.channels import Harness
from tests.app.channel.responses.lane_clients import Client, connected, finish, running, text_of, until

TOOLS = [{"type": "function", "name": "now"}]


async def steer(client: Client, response_id: str, said: Any = "faster") -> None:
    await client.say({"type": "response.steer", "previous_response_id": response_id, "input": said})


async def begun(harness: Harness, client: Client, count: int = 1, lane: str | None = None) -> str:
    """The id of a response that has said «so»."""
    stream = await running(harness, count)
    stream.feed(Delta(0, "so", 1))
    await until(lambda: any(kind.endswith("delta") for kind in client.kinds(lane)))
    created = [frame for frame in client.of("response.created") if frame.get("stream_id") == lane]
    response_id: str = created[-1]["response"]["id"]
    return response_id


async def outcome(client: Client, kind: str, count: int = 1) -> dict[str, Any]:
    """The event of steering of this kind that comes as number `count`."""
    kind = f"response.steer.{kind}"
    await until(lambda: len(client.of(kind)) >= count)
    return client.of(kind)[count - 1]


def asked(harness: Harness) -> list[tuple[str, str]]:
    """What the engine was last asked."""
    prompt = harness.engine.prepared[-1].prompt
    assert isinstance(prompt, ChatPrompt)
    return [(message["role"], message["content"]) for message in prompt.messages]


@pytest.mark.parametrize("lane", [None, "a"])
@pytest.mark.parametrize("store", [False, True])
async def test_a_steered_response_ends_and_another_goes_on_from_it(lane: str | None, store: bool) -> None:
    async with connected() as (harness, client):
        await client.ask("one", lane, store=store, instructions="Be brief.", metadata={"a": "b"})
        await client.ask("later", lane)
        first = await begun(harness, client, lane=lane)
        await steer(client, first)
        ended = await client.last(lane)
        finish(await running(harness, 2), "fast")
        went_on = await client.last(lane, 2)
        assert asked(harness) == [("system", "Be brief."), ("user", "one"), ("assistant", "so"), ("user", "faster")]
        finish(await running(harness, 3), "late")
        assert text_of(await client.last(lane, 3)) == "late"
    accepted = await outcome(client, "accepted")
    ResponseSteerAcceptedEvent.model_validate(accepted)
    assert (accepted["steer"]["previous_response_id"], accepted.get("stream_id")) == (first, lane)
    assert ended["type"] == "response.incomplete"
    assert (ended["response"]["status"], ended["response"]["incomplete_details"]) == (
        "incomplete",
        {"reason": "steered"},
    )
    assert (ended["response"]["output"][0]["status"], text_of(ended)) == ("incomplete", "so")
    assert went_on["response"]["previous_response_id"] == first
    assert (went_on["response"]["metadata"], text_of(went_on)) == ({"a": "b"}, "fast")
    kinds = client.kinds(lane)
    assert kinds.index("response.steer.accepted") < kinds.index("response.incomplete")
    assert "error" not in kinds


async def test_what_is_stored_says_that_it_was_steered() -> None:
    async with connected() as (harness, client):
        await client.ask("one", store=True)
        first = await begun(harness, client)
        await steer(client, first)
        finish(await running(harness, 2))
        await client.last(count=2)
        entry = await harness.services.responses.get("", first)
    assert entry is not None
    assert b'"steered"' in entry.body


async def test_input_for_a_response_that_has_called_waits_for_the_outputs() -> None:
    async with connected() as (harness, client):
        await client.ask("one", "a", tools=TOOLS)
        stream = await running(harness, 1)
        stream.feed(Delta(0, "", 1, part=ToolCallStart(0, "call_1", "now")))
        await until(lambda: "response.output_item.added" in client.kinds("a"))
        first = client.of("response.created")[0]["response"]["id"]
        await steer(client, first)
        await steer(client, first, [{"role": "user", "content": [{"type": "input_text", "text": "please"}]}])
        await outcome(client, "accepted", 2)
        stream.feed(Delta(0, "{}", 1, part=ToolCallArguments(0)), Delta(0, "", 0, "tool_calls"))
        stream.end()
        assert (await client.last("a"))["type"] == "response.completed"
        for count in (1, 2):
            pending = await outcome(client, "pending", count)
            ResponseSteerPendingEvent.model_validate(pending)
            assert pending["reason"] == "waiting_for_required_input"
            assert pending["required_input"] == [{"type": "function_call_output", "call_id": "call_1", "name": "now"}]
        output = {"type": "function_call_output", "call_id": "call_1", "output": "12:00"}
        await client.ask("", "a", previous_response_id=first, input=[output], tools=TOOLS)
        finish(await running(harness, 2), "noon")
        assert text_of(await client.last("a", 2)) == "noon"
        roles = [("user", "one"), ("assistant", ""), ("tool", "12:00"), ("user", "faster"), ("user", "please")]
        assert asked(harness) == roles
        await client.ask("more", "a", previous_response_id=first, input=[output])
        finish(await running(harness, 3))
        await client.last("a", 3)
        assert asked(harness) == roles[:3], "it was given once"


async def test_input_that_comes_when_the_model_has_ended_is_not_lost() -> None:
    async with connected() as (harness, client):
        await client.ask("one")
        first = await begun(harness, client)
        client.takes.clear()  # The socket takes no more.
        await steer(client, first)
        finish(harness.streams[0], "!")
        client.takes.set()
        finish(await running(harness, 2), "fast")
        assert text_of(await client.last(count=2)) == "fast"
        assert asked(harness)[-1] == ("user", "faster")


@pytest.mark.parametrize(
    ("said", "word"),
    [
        (None, "required"),
        ("", "empty"),
        ([], "empty"),
        (7, "string"),
        ([{"role": "system", "content": "x"}], "role 'user'"),
        ([{"type": "function_call_output", "call_id": "c", "output": "x"}], "role 'user'"),
        ([{"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}], "input_file"),
    ],
)
async def test_other_input_is_refused_and_the_response_goes_on(said: Any, word: str) -> None:
    async with connected() as (harness, client):
        await client.ask("one")
        first = await begun(harness, client)
        await steer(client, first, said)
        failed = await outcome(client, "failed")
        finish(harness.streams[0], "!")
        assert (await client.last())["type"] == "response.completed"
    assert (failed["error"]["code"], failed["error"]["type"]) == ("invalid_input", "invalid_request_error")
    assert word in failed["error"]["message"]
    assert failed["steer"] == {"previous_response_id": first, "input": said}


async def test_only_a_response_that_runs_on_the_connection_can_be_steered() -> None:
    async with connected() as (harness, client):
        await client.ask("one")
        first = await begun(harness, client)
        finish(harness.streams[0])
        await client.last()
        await steer(client, first)
        await steer(client, "resp_none")
        await client.ask("two", "b", generate=False)
        await running(harness, 2)
        (prepared,) = [frame["response"]["id"] for frame in client.of("response.created") if "stream_id" in frame]
        await steer(client, prepared)
        codes = [(await outcome(client, "failed", count))["error"]["code"] for count in (1, 2, 3)]
    assert codes == ["response_already_completed", "response_not_found", "steering_not_supported"]


async def test_the_inputs_that_wait_are_bounded() -> None:
    async with connected() as (harness, client):
        await client.ask("one", tools=TOOLS)
        stream = await running(harness, 1)
        stream.feed(Delta(0, "", 1, part=ToolCallStart(0, "call_1", "now")))
        await until(lambda: "response.output_item.added" in client.kinds())
        for _ in range(MAX_PENDING + 1):
            await steer(client, client.of("response.created")[0]["response"]["id"])
        failed = await outcome(client, "failed")
        assert failed["error"]["code"] == "too_many_pending_steers"
        await outcome(client, "accepted", MAX_PENDING)


async def test_input_that_cannot_be_used_comes_back() -> None:
    async with connected() as (harness, client):
        await client.ask("one")
        first = await begun(harness, client)
        client.takes.clear()
        await steer(client, first)
        client.channel.drain()
        client.takes.set()
        failed = await outcome(client, "failed")
        ResponseSteerFailedEvent.model_validate(failed)
        assert failed["steer"]["input"] == "faster"
        assert failed["steer"]["id"] == client.of("response.steer.accepted")[0]["steer"]["id"]
        assert failed["error"]["code"] == "successor_creation_failed"


async def test_input_for_a_response_that_fails_comes_back() -> None:
    async with connected() as (harness, client):
        await client.ask("one", tools=TOOLS)
        stream = await running(harness, 1)
        stream.feed(Delta(0, "", 1, part=ToolCallStart(0, "call_1", "now")))
        await until(lambda: "response.output_item.added" in client.kinds())
        await steer(client, client.of("response.created")[0]["response"]["id"])
        await outcome(client, "accepted")
        harness.engine.kill()
        failed = await outcome(client, "failed")
    assert (failed["error"]["code"], failed["steer"]["input"]) == ("response_not_active", "faster")


async def test_a_successor_that_is_refused_gives_its_input_back_and_no_other_error() -> None:
    async with connected(flags=["--requests-per-minute", "1"]) as (harness, client):
        await client.ask("one")
        first = await begun(harness, client)
        await steer(client, first)
        failed = await outcome(client, "failed")
    assert failed["error"]["code"] == "successor_creation_failed"
    assert client.of("error") == []


@pytest.mark.parametrize("is_accepted", [False, True])
async def test_long_input_does_not_come_back(is_accepted: bool) -> None:
    async with connected() as (harness, client):
        await client.ask("one")
        first = await begun(harness, client)
        client.takes.clear()
        for letters in (MAX_RETURNED_BYTES - 2, MAX_RETURNED_BYTES - 1):
            await steer(client, first if is_accepted else "resp_none", "x" * letters)
        client.channel.drain()
        client.takes.set()
        await outcome(client, "failed", 2)
    short, long = client.of("response.steer.failed")
    assert len(short["steer"].pop("input")) == MAX_RETURNED_BYTES - 2
    assert short["steer"].keys() == long["steer"].keys()
    assert "previous_response_id" in long["steer"]


async def test_a_call_that_comes_when_it_is_steered_leaves_it_steered() -> None:
    async with connected() as (harness, client):
        await client.ask("one", tools=TOOLS)
        first = await begun(harness, client)
        client.takes.clear()
        await steer(client, first)
        await steer(client, first, "please")
        harness.streams[0].feed(Delta(0, "", 1, part=ToolCallStart(0, "call_1", "now")))
        client.takes.set()
        ended = await client.last()
        finish(await running(harness, 2), "fast")
        await client.last(count=2)
    assert ended["response"]["status"] == "incomplete"
    assert asked(harness)[-2:] == [("user", "faster"), ("user", "please")]
    assert client.of("response.steer.pending") == []


async def test_a_response_that_was_cancelled_meanwhile_is_not_steered() -> None:
    async with connected() as (harness, client):
        await client.ask("one")
        first = await begun(harness, client)
        stream = harness.services.generation.kept[first]
        await stream.generation.cancel()
        assert not stream.steer()
        ended = await client.last()
    assert (ended["response"]["status"], ended["response"]["incomplete_details"]) == ("cancelled", None)


async def test_a_successor_that_cannot_be_created_leaves_the_response() -> None:
    async with connected() as (harness, client):
        await client.ask("one")
        first = await begun(harness, client)
        harness.engine.refusal = TwowireError(Fault.INVALID_VALUE, "No.")
        await steer(client, first)
        await outcome(client, "failed")
        harness.engine.refusal = None
        await client.ask("two", previous_response_id=first)
        finish(await running(harness, 2), "fast")
        assert text_of(await client.last(count=2)) == "fast"
