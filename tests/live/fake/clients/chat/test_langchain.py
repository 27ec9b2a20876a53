"""LangChain's ChatOpenAI: bound tools, structured output, agents."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from tests.live.servers.dialogue import Dialogue
from tests.live.servers.server import MODEL, Server

CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome"}}\n</tool_call>'
TWO = CALL + "\n" + CALL.replace("Rome", "Seoul")
WEATHER = '{"city": "Rome", "degrees": 21}'
RESULT = f'<tool_call>\n{{"name": "Weather", "arguments": {WEATHER}}}\n</tool_call>'


class Weather(BaseModel):
    """The weather in a city."""

    city: str
    degrees: int


@tool
def get_weather(city: str) -> str:
    """Get the weather in a city."""
    return f"sunny in {city}"


@pytest.fixture
def model(server: Server) -> ChatOpenAI:
    # The address and the key are in the environment, as users have them.
    return ChatOpenAI(model=MODEL)  # type: ignore[call-arg]  # an alias


def question(dialogue: Dialogue) -> str:
    return f"How is the weather? {dialogue}"


def test_bound_tools_are_called(model: ChatOpenAI) -> None:
    message = model.bind_tools([get_weather]).invoke(question(Dialogue("I look.\n" + TWO)))
    assert message.content == "I look."
    assert [(call["name"], call["args"]) for call in message.tool_calls] == [
        ("get_weather", {"city": "Rome"}),
        ("get_weather", {"city": "Seoul"}),
    ]
    assert len({call["id"] for call in message.tool_calls}) == 2
    assert message.response_metadata["finish_reason"] == "tool_calls"


def test_bound_tools_stream(model: ChatOpenAI) -> None:
    chunks = list(model.bind_tools([get_weather]).stream(question(Dialogue("I look.\n" + TWO))))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk  # type: ignore[assignment]  # chunks add up to a chunk
    assert isinstance(whole, AIMessageChunk)
    assert whole.content == "I look."
    assert [call["args"] for call in whole.tool_calls] == [{"city": "Rome"}, {"city": "Seoul"}]
    assert sum(bool(chunk.content) for chunk in chunks) > 1


@pytest.mark.parametrize("choice", ["any", "auto", "get_weather", None])
def test_a_choice_of_tools_is_taken(choice: str | None, model: ChatOpenAI) -> None:
    message = model.bind_tools([get_weather], tool_choice=choice).invoke(question(Dialogue(CALL)))
    assert [call["args"] for call in message.tool_calls] == [{"city": "Rome"}]


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        ({}, WEATHER),
        ({"method": "json_schema", "strict": True}, WEATHER),
        ({"method": "function_calling"}, RESULT),
        ({"method": "json_mode"}, WEATHER),
        ({"include_raw": True}, WEATHER),
    ],
)
def test_structured_output_is_made(options: Any, answer: str, model: ChatOpenAI) -> None:
    made: Any = model.with_structured_output(Weather, **options).invoke(question(Dialogue(answer)))
    assert (made["parsed"] if "include_raw" in options else made) == Weather(city="Rome", degrees=21)


def test_structured_output_streams(model: ChatOpenAI) -> None:
    seen: list[Any] = list(model.with_structured_output(Weather).stream(question(Dialogue(WEATHER))))
    assert seen[-1] == Weather(city="Rome", degrees=21)


def test_an_agent_runs_its_tools(model: ChatOpenAI) -> None:
    agent: Any = create_agent(model, [get_weather], system_prompt="Be short.")
    ended = agent.invoke({"messages": [HumanMessage(question(Dialogue(TWO, "Sunny in both.")))]})
    assert [message.type for message in ended["messages"]] == ["human", "ai", "tool", "tool", "ai"]
    assert [message.content for message in ended["messages"][2:]] == [
        "sunny in Rome",
        "sunny in Seoul",
        "Sunny in both.",
    ]


async def test_an_agent_streams(model: ChatOpenAI) -> None:
    agent: Any = create_agent(model, [get_weather])
    asked = {"messages": [HumanMessage(question(Dialogue(CALL, "It is sunny.")))]}
    texts = [chunk.content async for chunk, _ in agent.astream(asked, stream_mode="messages") if chunk.content]
    assert texts[0] == "sunny in Rome"
    assert "".join(texts[1:]) == "It is sunny."


def test_an_agent_answers_in_a_form(model: ChatOpenAI) -> None:
    agent: Any = create_agent(model, [get_weather], response_format=Weather)
    ended = agent.invoke({"messages": [HumanMessage(question(Dialogue(CALL, RESULT)))]})
    assert ended["structured_response"] == Weather(city="Rome", degrees=21)
