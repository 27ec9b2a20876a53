"""LiteLLM's SDK: tools, reasoning and structured output, whole and streamed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel

from tests.live.servers.dialogue import Dialogue
from tests.live.servers.server import MODEL, Server

CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome"}}\n</tool_call>'
ANSWER = f"<think>\nOf Rome.\n</think>\n\nI look.\n{CALL}\n{CALL.replace('Rome', 'Seoul')}"
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather in a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]


class Weather(BaseModel):
    city: str
    degrees: int


@pytest.fixture
def litellm(server: Server) -> Any:
    # After its environment is set: otherwise the import downloads a list of prices.
    import litellm

    return litellm


def asking(server: Server, dialogue: Dialogue, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"How is the weather? {dialogue}"}]
    return {
        "model": f"openai/{MODEL}",
        "messages": messages,
        "api_base": f"{server.url}/v1",
        "api_key": "unused",
    } | more


def test_tools_are_called(litellm: Any, server: Server) -> None:
    body = asking(server, Dialogue(ANSWER, "Sunny.", thinks_by_default=True), tools=TOOLS)
    choice = litellm.completion(**body).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert (choice.message.content, choice.message.reasoning_content) == ("I look.", "Of Rome.")
    calls = choice.message.tool_calls
    assert [json.loads(call.function.arguments) for call in calls] == [{"city": "Rome"}, {"city": "Seoul"}]
    body["messages"].append(choice.message)
    body["messages"] += [{"role": "tool", "tool_call_id": call.id, "content": "sun"} for call in calls]
    assert litellm.completion(**body).choices[0].message.content == "Sunny."


def test_a_stream_builds_the_same(litellm: Any, server: Server) -> None:
    body = asking(server, Dialogue(ANSWER, thinks_by_default=True), tools=TOOLS)
    chunks = list(litellm.completion(**body, stream=True, stream_options={"include_usage": True}))
    choice = litellm.stream_chunk_builder(chunks).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert (choice.message.content, choice.message.reasoning_content) == ("I look.", "Of Rome.")
    arguments = [json.loads(call.function.arguments) for call in choice.message.tool_calls]
    assert arguments == [{"city": "Rome"}, {"city": "Seoul"}]
    assert chunks[-1].usage.completion_tokens > 0


@pytest.mark.parametrize(
    "more", [{"tool_choice": "required"}, {"parallel_tool_calls": False}, {"reasoning_effort": "low"}]
)
def test_options_are_taken(more: dict[str, Any], litellm: Any, server: Server) -> None:
    message = litellm.completion(**asking(server, Dialogue(CALL), tools=TOOLS, **more)).choices[0].message
    assert [call.function.name for call in message.tool_calls] == ["get_weather"]


def test_structured_output_is_made(litellm: Any, server: Server) -> None:
    body = asking(server, Dialogue('{"city": "Rome", "degrees": 21}'), response_format=Weather)
    content = litellm.completion(**body).choices[0].message.content
    assert Weather.model_validate_json(content) == Weather(city="Rome", degrees=21)
