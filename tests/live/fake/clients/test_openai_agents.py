"""OpenAI's agents SDK, on chat completions and on responses: tools, sessions, hand-overs, output types, streams."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from agents import (
    Agent,
    Model,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai.types.responses import ResponseTextDeltaEvent
from pydantic import BaseModel

from tests.live.servers.dialogue import Dialogue
from tests.live.servers.server import MODEL, Server

CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome"}}\n</tool_call>'
THOUGHT = "<think>\nOf Rome.\n</think>\n\n"
WEATHER = '{"city": "Rome", "degrees": 21}'


class Weather(BaseModel):
    city: str
    degrees: int


@function_tool
def get_weather(city: str) -> str:
    """Get the weather in a city."""
    return f"sunny in {city}"


@pytest.fixture
async def chat(server: Server) -> AsyncIterator[OpenAIChatCompletionsModel]:
    set_tracing_disabled(True)
    async with server.async_sdk() as sdk:
        yield OpenAIChatCompletionsModel(model=MODEL, openai_client=sdk)


@pytest.fixture
async def responses(server: Server) -> AsyncIterator[OpenAIResponsesModel]:
    set_tracing_disabled(True)
    async with server.async_sdk() as sdk:
        yield OpenAIResponsesModel(model=MODEL, openai_client=sdk)


@pytest.fixture(params=["chat", "responses"])
def model(request: pytest.FixtureRequest, chat: Model, responses: Model) -> Model:
    return chat if request.param == "chat" else responses


def agent_of(model: Any, **more: Any) -> Agent[None]:
    return Agent(name="Weather", instructions="Be short.", model=model, tools=[get_weather], **more)


def outputs_of(items: list[Any]) -> list[Any]:
    return [item.output for item in items if item.type == "tool_call_output_item"]


async def test_an_agent_runs_its_tool(model: Model) -> None:
    result = await Runner.run(agent_of(model), f"How is the weather? {Dialogue('I look. ' + CALL, 'It is sunny.')}")
    assert result.final_output == "It is sunny."
    assert outputs_of(result.new_items) == ["sunny in Rome"]


async def test_an_agent_streams(model: Model) -> None:
    result = Runner.run_streamed(agent_of(model), f"How is the weather? {Dialogue(CALL, 'It is sunny.')}")
    texts = [
        event.data.delta
        async for event in result.stream_events()
        if event.type == "raw_response_event" and isinstance(event.data, ResponseTextDeltaEvent)
    ]
    assert "".join(texts) == result.final_output == "It is sunny."
    assert len(texts) > 1
    assert outputs_of(result.new_items) == ["sunny in Rome"]


@pytest.mark.parametrize("choice", ["required", "get_weather"])
async def test_a_tool_may_be_forced(choice: str, model: Model) -> None:
    agent = agent_of(model, model_settings=ModelSettings(tool_choice=choice, parallel_tool_calls=False))
    result = await Runner.run(agent, f"How is the weather? {Dialogue(CALL, 'It is sunny.')}")
    assert outputs_of(result.new_items) == ["sunny in Rome"]


async def test_an_output_type_is_made(model: Model) -> None:
    agent = agent_of(model, output_type=Weather)
    result = await Runner.run(agent, f"How is the weather? {Dialogue(CALL, WEATHER)}")
    assert result.final_output == Weather(**json.loads(WEATHER))


async def test_an_agent_hands_over(model: Model) -> None:
    first: Agent[None] = Agent(name="First", instructions="Hand over.", model=model, handoffs=[agent_of(model)])
    handing = '<tool_call>\n{"name": "transfer_to_weather", "arguments": {}}\n</tool_call>'
    result = await Runner.run(first, f"How is the weather? {Dialogue(handing, CALL, 'It is sunny.')}")
    assert (result.final_output, result.last_agent.name) == ("It is sunny.", "Weather")


async def test_an_agent_runs_its_tool_with_the_default_model(server: Server) -> None:
    # The environment of the tests has the server's address and a key: see `conftest`.
    set_tracing_disabled(True)
    result = await Runner.run(agent_of(MODEL), f"How is the weather? {Dialogue('I look. ' + CALL, 'It is sunny.')}")
    assert result.final_output == "It is sunny."
    assert outputs_of(result.new_items) == ["sunny in Rome"]


async def test_an_agent_goes_on_from_the_last_response(responses: Model) -> None:
    dialogue = Dialogue(THOUGHT + CALL, "It is sunny.", "Still sunny.")
    first = await Runner.run(agent_of(responses), f"How is the weather? {dialogue}", auto_previous_response_id=True)
    assert first.final_output == "It is sunny."
    second = await Runner.run(agent_of(responses), "And now?", previous_response_id=first.last_response_id)
    assert second.final_output == "Still sunny."


async def test_thoughts_and_calls_come_back_as_items(responses: Model) -> None:
    dialogue = Dialogue(THOUGHT + "I look. " + CALL + "\n" + CALL, "It is sunny.", "Still sunny.")
    first = await Runner.run(agent_of(responses), f"How is the weather? {dialogue}")
    assert outputs_of(first.new_items) == ["sunny in Rome"] * 2
    second = await Runner.run(agent_of(responses), [*first.to_input_list(), {"role": "user", "content": "And now?"}])
    assert second.final_output == "Still sunny."
