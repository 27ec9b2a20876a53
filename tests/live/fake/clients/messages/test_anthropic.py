"""Anthropic's SDK against scripted answers: one message, whole and streamed, however its text comes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from websockets.asyncio.client import connect

from tests.live.servers.dialogue import THE_REQUEST, Dialogue
from tests.live.servers.server import MODEL, Server

TOOLS: Any = [
    {
        "name": "weather",
        "description": "The weather in a city.",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
]
THINKING: Any = {"type": "enabled", "budget_tokens": 1024}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "서울 😀"}}\n</tool_call>'
CUTS = ("tokens", "characters", "whole", 1, 2)


@pytest.fixture
def sdk(server: Server) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key="unused", max_retries=0) as sdk:
        yield sdk


def asking(dialogue: Dialogue, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"How is the weather? {dialogue}"}]
    return {"model": MODEL, "max_tokens": 2048, "messages": messages} | more


def blocks(message: Any) -> list[dict[str, Any]]:
    """The blocks of a message without the ids of its calls."""
    return [block.model_dump(exclude_none=True, exclude={"id"}) for block in message.content]


@pytest.mark.parametrize("cut", CUTS)
def test_a_message_is_the_same_however_it_comes(sdk: anthropic.Anthropic, cut: str | int) -> None:
    text = f"<think>\nOf Seoul.\n</think>\n\nI look it up.\n{CALL}\n{CALL.replace('서울 😀', 'Rome')}"
    body = asking(Dialogue(text, cut=cut), tools=TOOLS, thinking=THINKING)
    whole = sdk.messages.create(**body)
    thinking, said, *calls = blocks(whole)
    assert (thinking["thinking"], said["text"]) == ("Of Seoul.", "I look it up.")
    assert thinking["signature"]
    assert [call["input"] for call in calls] == [{"city": "서울 😀"}, {"city": "Rome"}]
    assert (whole.stop_reason, whole.stop_sequence) == ("tool_use", None)
    with sdk.messages.stream(**body) as stream:
        streamed = stream.get_final_message()
    assert blocks(streamed) == blocks(whole)
    assert streamed.stop_reason == whole.stop_reason
    assert streamed.usage.model_dump() == whole.usage.model_dump()
    assert whole.usage.output_tokens_details is not None
    assert 0 < whole.usage.output_tokens_details.thinking_tokens <= whole.usage.output_tokens


def events_of(sdk: anthropic.Anthropic, **body: Any) -> list[Any]:
    with sdk.messages.create(**body, stream=True) as stream:
        return list(stream)


def test_blocks_are_opened_and_closed_one_after_another(sdk: anthropic.Anthropic) -> None:
    text = f"<think>\nHm.\n</think>\n\nFirst.\n{CALL}\nSecond."
    events = events_of(sdk, **asking(Dialogue(text), tools=TOOLS, thinking=THINKING))
    assert [event.type for event in (events[0], *events[-2:])] == ["message_start", "message_delta", "message_stop"]
    assert events[0].message.content == []
    opened: list[tuple[str, int]] = []
    for event in events[1:-2]:
        if event.type == "content_block_start":
            opened.append((event.content_block.type, event.index))
        assert event.index == len(opened) - 1, "of the block that is open"
    assert opened == [("thinking", 0), ("text", 1), ("tool_use", 2), ("text", 3)]
    assert [event.index for event in events if event.type == "content_block_stop"] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("text", "more", "expected"),
    [
        ("Hello.", {}, ("end_turn", None)),
        ("Hello.", {"max_tokens": 1}, ("max_tokens", None)),
        ("one two three", {"stop_sequences": ["four", " three"]}, ("stop_sequence", " three")),
        (CALL, {"tools": TOOLS}, ("tool_use", None)),
        (CALL, {"tools": TOOLS, "tool_choice": {"type": "tool", "name": "weather"}}, ("tool_use", None)),
        (CALL, {"tools": TOOLS, "tool_choice": {"type": "any"}}, ("tool_use", None)),
        (CALL, {"tools": TOOLS, "max_tokens": 20}, ("max_tokens", None)),
        (CALL, {"tools": TOOLS, "stop_sequences": ["city"]}, ("stop_sequence", "city")),
    ],
)
def test_the_end_has_its_reason(
    sdk: anthropic.Anthropic, text: str, more: dict[str, Any], expected: tuple[str, str | None]
) -> None:
    body = asking(Dialogue(text), **more)
    whole = sdk.messages.create(**body)
    assert (whole.stop_reason, whole.stop_sequence) == expected
    with sdk.messages.stream(**body) as stream:
        streamed = stream.get_final_message()
    assert (streamed.stop_reason, streamed.stop_sequence) == expected
    assert blocks(streamed) == blocks(whole)


def test_thoughts_are_shown_only_where_they_are_asked_for(sdk: anthropic.Anthropic) -> None:
    dialogue = Dialogue("<think>\nHm.\n</think>\n\nYes.", thinks_by_default=True, opened=False)
    for thinking in ({"type": "disabled"}, None):
        body = asking(dialogue) | ({} if thinking is None else {"thinking": thinking})
        assert "thinking" not in {block["type"] for block in blocks(sdk.messages.create(**body))}
    shown, omitted = (
        blocks(sdk.messages.create(**asking(dialogue, thinking={"type": "adaptive", "display": display})))
        for display in ("summarized", "omitted")
    )
    assert [block.get("thinking") for block in shown] == ["Hm.", None]
    assert [block.get("thinking") for block in omitted] == ["", None]
    assert shown[1] == omitted[1] == {"type": "text", "text": "Yes."}


def test_an_answer_without_anything_has_one_empty_text(sdk: anthropic.Anthropic) -> None:
    body = asking(Dialogue(""))
    assert blocks(sdk.messages.create(**body)) == [{"type": "text", "text": ""}]
    with sdk.messages.stream(**body) as stream:
        assert blocks(stream.get_final_message()) == [{"type": "text", "text": ""}]


def test_a_call_without_arguments_is_an_empty_object(sdk: anthropic.Anthropic) -> None:
    body = asking(Dialogue('<tool_call>\n{"name": "weather"}\n</tool_call>'), tools=TOOLS)
    assert blocks(sdk.messages.create(**body))[0]["input"] == {}
    with sdk.messages.stream(**body) as stream:
        assert blocks(stream.get_final_message())[0]["input"] == {}


def test_calls_and_their_results_go_round(sdk: anthropic.Anthropic) -> None:
    """The SDK sends back what it got: thinking, text, two calls; then their results, and text in one message."""
    dialogue = Dialogue(
        f"<think>\nOf both.\n</think>\n\nI look.\n{CALL}\n{CALL.replace('서울 😀', 'Rome')}", THE_REQUEST
    )
    body = asking(dialogue, tools=TOOLS, thinking=THINKING, system="Be brief.")
    first = sdk.messages.create(**body)
    calls = [block for block in first.content if block.type == "tool_use"]
    body["messages"] += [
        {"role": "assistant", "content": first.content},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "And now?"},
                {"type": "tool_result", "tool_use_id": calls[0].id, "content": "sun"},
                {
                    "type": "tool_result",
                    "tool_use_id": calls[1].id,
                    "is_error": True,
                    "content": [{"type": "text", "text": "no"}, {"type": "text", "text": "luck"}],
                },
            ],
        },
        {"role": "system", "content": "Remember: be brief."},
    ]
    text = "".join(block.text for block in sdk.messages.create(**body).content if block.type == "text")
    asked = json.loads(text)
    system, user, assistant, *results, question, reminder = asked["messages"]
    assert system == {"role": "system", "content": "Be brief."}
    assert user["role"] == "user"
    assert (assistant["content"], assistant["reasoning"], assistant["reasoning_content"]) == (
        *("I look.", "Of both.", "Of both."),
    )
    assert [call["function"] for call in assistant["tool_calls"]] == [
        {"name": "weather", "arguments": {"city": "서울 😀"}},
        {"name": "weather", "arguments": {"city": "Rome"}},
    ]
    assert results == [
        {"role": "tool", "content": "sun", "tool_call_id": calls[0].id},
        {"role": "tool", "content": "Error: no\nluck", "tool_call_id": calls[1].id},
    ]
    assert question == {"role": "user", "content": "And now?"}
    assert reminder == {"role": "system", "content": "Remember: be brief."}


def test_the_engine_is_asked_for_what_the_request_says(sdk: anthropic.Anthropic) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    more = {
        # The SDK still sends these, but not by name.
        "extra_body": {"temperature": 0.5, "top_p": 0.9, "top_k": 5},
        "stop_sequences": ["\x01END"],
        "tools": [TOOLS[0] | {"strict": True}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": schema}},
        "metadata": {"user_id": "somebody"},
    }
    asked = json.loads(sdk.messages.create(**asking(Dialogue(THE_REQUEST), **more)).content[0].text)
    assert asked["sampling"] | {"stop": None} == asked["sampling"] | {
        "stop": None,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "max_tokens": 2048,
    }
    assert asked["sampling"]["stop"] == ["\x01END"]
    assert (asked["is_parallel"], asked["effort"], asked["thinks"]) == (False, "high", None)
    assert asked["tools"][0]["is_strict"]
    assert asked["schema"]["required"] == ["a"]


def test_errors_are_raised_by_their_class(sdk: anthropic.Anthropic, server: Server) -> None:
    body = asking(Dialogue("Hi."))
    with pytest.raises(anthropic.BadRequestError, match="max_tokens must be at least 1") as refused:
        sdk.messages.create(**body | {"max_tokens": 0})
    error: Any = refused.value.body
    assert (error["type"], error["error"]["type"]) == ("error", "invalid_request_error")
    assert refused.value.request_id == error["request_id"] == refused.value.response.headers["x-request-id"]
    with pytest.raises(anthropic.NotFoundError) as unknown:
        sdk.messages.create(**body | {"model": "claude-none"})
    assert unknown.value.body["error"]["type"] == "not_found_error"  # type: ignore[index]  # an object
    with pytest.raises(anthropic.APIStatusError, match="GET is not allowed here"):
        sdk.messages.batches.list()
    with pytest.raises(anthropic.NotFoundError, match="not_found_error"):
        sdk.beta.files.list()
    with pytest.raises(anthropic.NotFoundError, match="not_found_error"):
        sdk.models.retrieve("claude-none")


def test_a_failure_midway_is_an_error_event(sdk: anthropic.Anthropic) -> None:
    body = asking(Dialogue("one two three four five", fails_after=2))
    with pytest.raises(anthropic.APIStatusError, match="The engine died") as died:
        events_of(sdk, **body)
    assert died.value.status_code == 200
    assert died.value.body == {
        "type": "error",
        "error": {"type": "api_error", "message": "The engine died while it generated."},
    }


def test_arguments_that_are_no_object_run_no_tool(sdk: anthropic.Anthropic) -> None:
    text = '<tool_call>\n{"name": "weather", "arguments": ["Rome"]}\n</tool_call>'
    body = asking(Dialogue(text), tools=TOOLS)
    whole = sdk.messages.create(**body)
    assert whole.stop_reason == "end_turn"
    assert [block["type"] for block in blocks(whole)] == ["text"]
    assert '["Rome"]' in blocks(whole)[0]["text"]


def test_tokens_are_counted_and_models_listed(sdk: anthropic.Anthropic) -> None:
    body = asking(Dialogue("Hi."), tools=TOOLS, system="Be brief.")
    del body["max_tokens"]
    assert sdk.messages.count_tokens(**body).input_tokens > 0
    assert sdk.beta.messages.count_tokens(**body).input_tokens > 0
    with pytest.raises(anthropic.BadRequestError, match=r"messages\[0\].role"):
        sdk.messages.count_tokens(**body | {"messages": [{"role": "tool", "content": "x"}]})
    (model,) = [model for model in sdk.models.list() if model.id == MODEL]
    assert sdk.models.retrieve(MODEL) == model
    assert model.type == "model"


async def test_the_asynchronous_sdk_does_the_same(server: Server) -> None:
    body = asking(Dialogue(f"I look.\n{CALL}"), tools=TOOLS)
    async with anthropic.AsyncAnthropic(base_url=server.url, auth_token="unused", max_retries=0) as sdk:
        whole = await sdk.messages.create(**body)
        async with sdk.messages.stream(**body) as stream:
            texts = [text async for text in stream.text_stream]
            streamed = await stream.get_final_message()
    assert "".join(texts) == "I look."
    assert blocks(streamed) == blocks(whole)


async def test_the_channel_has_the_same_bytes(server: Server, sdk: anthropic.Anthropic) -> None:
    text = f"<think>\nHm.\n</think>\n\nOne, two, three.\n{CALL}"
    body = asking(Dialogue(text), tools=TOOLS, thinking=THINKING)
    with sdk.messages.with_streaming_response.create(**body, stream=True) as response:
        lines = [line for line in response.iter_lines() if line]
    names, events = lines[::2], lines[1::2]
    frames = await channel_frames(server, {"api": "messages", "body": body})
    assert frames[0]["id"].startswith("msg_")
    assert frames[-1]["status"] == "completed"
    chunks = frames[1:-1]
    assert [f"event: {frame['event']}" for frame in chunks] == names
    assert [without_ids(frame["data"]) for frame in chunks] == [
        without_ids(json.loads(event.removeprefix("data: "))) for event in events
    ]


async def channel_frames(server: Server, create: dict[str, Any]) -> list[dict[str, Any]]:
    frames = []
    create = {"type": "chat.completion.create", "stream_id": "s"} | create
    async with connect(server.url.replace("http", "ws") + "/v1/chat/completions") as socket:
        await socket.send(json.dumps(create))
        async for message in socket:
            frame = json.loads(message)
            if frame["type"] != "connection.ready":
                frames.append(frame)
            if frame["type"] in ("chat.completion.done", "error"):
                return frames
    raise AssertionError("the connection ended")


def without_ids(event: dict[str, Any]) -> dict[str, Any]:
    event.get("message", {}).pop("id", None)
    event.get("content_block", {}).pop("id", None)
    return event
