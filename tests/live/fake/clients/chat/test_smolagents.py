"""smolagents: an agent that calls tools, and one that writes code."""

from __future__ import annotations

import pytest
from smolagents import CodeAgent, OpenAIModel, Tool, ToolCallingAgent  # type: ignore[import-untyped]  # it is not typed

from tests.live.servers.dialogue import Dialogue
from tests.live.servers.server import MODEL, Server

CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome"}}\n</tool_call>'
FINAL = '<tool_call>\n{"name": "final_answer", "arguments": {"answer": "It is sunny."}}\n</tool_call>'


class WeatherTool(Tool):  # type: ignore[misc]  # smolagents is not typed
    name = "get_weather"
    description = "The weather in a city."
    inputs = {"city": {"type": "string", "description": "The city."}}  # noqa: RUF012  # as smolagents wants it
    output_type = "string"

    def forward(self, city: str) -> str:
        return f"sunny in {city}"


@pytest.fixture
def model(server: Server) -> OpenAIModel:
    return OpenAIModel(model_id=MODEL, api_base=f"{server.url}/v1", api_key="unused")


@pytest.mark.parametrize("stream_outputs", [False, True])
def test_an_agent_calls_its_tools(stream_outputs: bool, model: OpenAIModel) -> None:
    agent = ToolCallingAgent([WeatherTool()], model, verbosity_level=0, stream_outputs=stream_outputs)
    assert agent.run(f"How is the weather? {Dialogue(CALL, FINAL)}") == "It is sunny."
    assert [step.observations for step in agent.memory.steps[1:]] == ["sunny in Rome", "It is sunny."]


@pytest.mark.parametrize("stream_outputs", [False, True])
def test_an_agent_writes_code(stream_outputs: bool, model: OpenAIModel) -> None:
    first = 'I ask the tool.\n<code>\nseen = get_weather("Rome")\nprint(seen)\n</code>'
    last = "Now I know.\n<code>\nfinal_answer(seen)\n</code> and more that nobody asked for"
    agent = CodeAgent([WeatherTool()], model, verbosity_level=0, stream_outputs=stream_outputs)
    assert agent.run(f"How is the weather? {Dialogue(first, last)}") == "sunny in Rome"
