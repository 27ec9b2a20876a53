"""Scripted answers end to end: one message, however its text comes, on both wires."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai
import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState

from tests.live.servers.dialogue import THE_REQUEST, Dialogue
from tests.live.servers.server import MODEL, Server
from twowire_client import Channel

TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                "required": ["city"],
            },
        },
    }
]
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "서울 😀", "days": 3}}\n</tool_call>'
CUTS = ("tokens", "characters", "whole", 1, 2)


def asking(dialogue: Dialogue, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"How is the weather? {dialogue}"}]
    return {"model": MODEL, "messages": messages, "tools": TOOLS} | more


def without_ids(message: dict[str, Any]) -> dict[str, Any]:
    functions = [call["function"] for call in message.get("tool_calls") or []]
    calls = [{"name": function["name"], "arguments": function["arguments"]} for function in functions]
    return {"content": message["content"], "reasoning": message.get("reasoning"), "calls": calls}


@pytest.fixture
def sdk(server: Server) -> Iterator[openai.OpenAI]:
    with server.sdk() as sdk:
        yield sdk


@pytest.fixture
async def channel(server: Server) -> AsyncIterator[Channel]:
    async with Channel.connect(server.url) as channel:
        yield channel


async def test_a_message_is_the_same_however_it_comes(sdk: openai.OpenAI, channel: Channel) -> None:
    text = "<think>\nOf Seoul.\n</think>\n\nI look it up.\n" + CALL
    expected = {
        "content": "I look it up.",
        "reasoning": "Of Seoul.",
        "calls": [{"name": "weather", "arguments": json.dumps({"city": "서울 😀", "days": 3}, ensure_ascii=False)}],
    }
    for cut in CUTS:
        body = asking(Dialogue(text, cut=cut), extra_body={"reasoning_effort": "low"})
        whole = sdk.chat.completions.create(**body).choices[0]
        assert whole.finish_reason == "tool_calls"
        assert without_ids(whole.message.model_dump()) == expected
        state = ChatCompletionStreamState()
        for chunk in sdk.chat.completions.create(**body, stream=True):
            state.handle_chunk(chunk)
        streamed = state.get_final_completion().choices[0]
        assert streamed.finish_reason == "tool_calls"
        assert without_ids(streamed.message.model_dump()) == expected
        body |= body.pop("extra_body")
        assert without_ids(await (await channel.create(**body)).message()) == expected


def test_each_turn_has_its_answer(sdk: openai.OpenAI) -> None:
    body = asking(Dialogue(CALL, "It rains.", THE_REQUEST))
    message = sdk.chat.completions.create(**body).choices[0].message
    assert message.tool_calls
    body["messages"] += [message, {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "rain"}]
    message = sdk.chat.completions.create(**body).choices[0].message
    assert message.content == "It rains."
    body["messages"] += [message, {"role": "user", "content": "And then?"}]
    asked = json.loads(sdk.chat.completions.create(**body).choices[0].message.content or "")
    assert [one["role"] for one in asked["messages"]] == ["user", "assistant", "tool", "assistant", "user"]
    assert [tool["name"] for tool in asked["tools"]] == ["weather"]
    body["messages"].append({"role": "assistant", "content": ""})
    with pytest.raises(openai.BadRequestError, match="after 3 turns"):
        sdk.chat.completions.create(**body)


@pytest.mark.parametrize(
    ("limits", "text", "reason"),
    [
        ({"stop": [" you", "never"]}, "How are", "stop"),
        ({"max_tokens": 3}, None, "length"),
        ({"stop": ["never seen"], "max_tokens": 3}, None, "length"),
        ({"stop": ["never seen"]}, "How are you? I am well.", "stop"),
    ],
)
def test_stop_and_max_tokens_hold(limits: Any, text: str | None, reason: str, sdk: openai.OpenAI) -> None:
    body = asking(Dialogue("How are you? I am well."), **limits)
    completion = sdk.chat.completions.create(**body)
    choice, usage = completion.choices[0], completion.usage
    assert choice.finish_reason == reason
    assert choice.message.content
    assert "How are you? I am well.".startswith(choice.message.content)
    assert usage is not None
    if text is None:
        assert usage.completion_tokens == 3
    else:
        assert choice.message.content == text


async def test_it_hangs_until_it_is_cancelled(channel: Channel) -> None:
    body = asking(Dialogue(CALL, hangs_after=20))
    arguments = ""
    async with await channel.create(**body) as generation:
        async for chunk in generation:
            delta = chunk["choices"][0]["delta"]
            for call in delta.get("tool_calls", ()):
                arguments += call["function"].get("arguments", "")
            if arguments.startswith('{"city'):
                await generation.cancel()
    assert arguments.startswith('{"city')
    assert "days" not in arguments


def test_it_fails_midway(sdk: openai.OpenAI) -> None:
    body = asking(Dialogue("One two three four five six seven.", fails_after=3), stream=True)
    with sdk.chat.completions.create(**body) as stream, pytest.raises(openai.APIError, match="engine died"):
        for _ in stream:
            pass
