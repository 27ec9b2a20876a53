"""Anthropic's SDK against scripted answers: one message, whole and streamed, however its text comes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from tests.live.servers.dialogue import Dialogue
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
