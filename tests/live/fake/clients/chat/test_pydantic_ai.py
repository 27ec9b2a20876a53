"""pydantic-ai: agents with a tool, with an output type, and with both, run and streamed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput, PromptedOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from tests.live.servers.dialogue import Dialogue
from tests.live.servers.server import MODEL, Server

CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome"}}\n</tool_call>'
WEATHER = '{"city": "Rome", "degrees": 21}'
RESULT = f'<tool_call>\n{{"name": "final_result", "arguments": {WEATHER}}}\n</tool_call>'


class Weather(BaseModel):
    """The weather in a city."""

    city: str
    degrees: int


@pytest.fixture
async def model(server: Server) -> AsyncIterator[OpenAIChatModel]:
    async with server.async_sdk() as sdk:
        yield OpenAIChatModel(MODEL, provider=OpenAIProvider(openai_client=sdk))


def agent_of(model: OpenAIChatModel, asked: list[str], output: Any = str) -> Agent[None, Any]:
    agent: Agent[None, Any] = Agent(model, instructions="Be short.", output_type=output)

    @agent.tool_plain
    def get_weather(city: str) -> str:
        """Get the weather in a city."""
        asked.append(city)
        return f"sunny in {city}"

    return agent


async def test_an_agent_runs_its_tool(model: OpenAIChatModel) -> None:
    asked: list[str] = []
    result = await agent_of(model, asked).run(f"How is the weather? {Dialogue('I look. ' + CALL, 'It is sunny.')}")
    assert (result.output, asked) == ("It is sunny.", ["Rome"])
    assert result.usage.output_tokens > 0


async def test_an_agent_streams(model: OpenAIChatModel) -> None:
    asked: list[str] = []
    question = f"How is the weather? {Dialogue(CALL, 'It is sunny.')}"
    async with agent_of(model, asked).run_stream(question) as result:
        texts = [text async for text in result.stream_text(debounce_by=None)]
    assert (texts[-1], asked) == ("It is sunny.", ["Rome"])
    assert len(texts) > 1


async def test_thoughts_are_kept(model: OpenAIChatModel) -> None:
    asked: list[str] = []
    dialogue = Dialogue(
        f"<think>\nOf Rome.\n</think>\n\n{CALL}", "<think>\nSun.\n</think>\n\nSunny.", thinks_by_default=True
    )
    result = await agent_of(model, asked).run(f"How is the weather? {dialogue}")
    assert (result.output, asked) == ("Sunny.", ["Rome"])
    thoughts = [
        part.content for message in result.all_messages() for part in message.parts if part.part_kind == "thinking"
    ]
    assert thoughts == ["Of Rome.", "Sun."]


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        (Weather, RESULT),
        (NativeOutput(Weather), WEATHER),
        (PromptedOutput(Weather), WEATHER),
    ],
)
async def test_an_object_is_made(output: Any, answer: str, model: OpenAIChatModel) -> None:
    asked: list[str] = []
    result = await agent_of(model, asked, output).run(f"How is the weather? {Dialogue(CALL, answer)}")
    assert (result.output, asked) == (Weather(city="Rome", degrees=21), ["Rome"])


async def test_an_object_streams(model: OpenAIChatModel) -> None:
    async with agent_of(model, [], Weather).run_stream(f"How is it? {Dialogue(RESULT)}") as result:
        seen = [made async for made in result.stream_output(debounce_by=None)]
    assert seen[-1] == Weather(city="Rome", degrees=21)
