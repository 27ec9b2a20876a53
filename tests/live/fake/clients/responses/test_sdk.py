"""OpenAI's SDK on responses, unchanged: create, the stream helper, parsed output, what is stored."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai
import pytest
from openai.types.responses import ResponseFunctionToolCall
from pydantic import BaseModel

from tests.live.servers.dialogue import Dialogue
from tests.live.servers.server import MODEL, Server

CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS: Any = [{"type": "function", "name": "weather", "parameters": CITY, "strict": True}]
REPORT = '{"city": "Rome", "degrees": 21}'


class Report(BaseModel):
    city: str
    degrees: int


@pytest.fixture
def sdk(server: Server) -> Iterator[openai.OpenAI]:
    with server.sdk() as sdk:
        yield sdk


@pytest.fixture
async def async_sdk(server: Server) -> AsyncIterator[openai.AsyncOpenAI]:
    async with server.async_sdk() as sdk:
        yield sdk


def asking(*turns: str, **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "input": f"How is the weather? {Dialogue(*turns)}"} | more


def test_a_response_is_created_read_continued_and_deleted(sdk: openai.OpenAI) -> None:
    first = sdk.responses.create(**asking(CALL, "It is sunny.", "Still sunny."), tools=TOOLS)
    (call,) = first.output
    assert isinstance(call, ResponseFunctionToolCall)
    assert (call.name, call.arguments) == ("weather", '{"city": "Rome"}')
    output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    second = sdk.responses.create(model=MODEL, input=[output], previous_response_id=first.id, tools=TOOLS)
    assert second.output_text == "It is sunny."
    assert sdk.responses.retrieve(second.id) == second
    third = sdk.responses.create(model=MODEL, input="And now?", previous_response_id=second.id)
    assert third.output_text == "Still sunny."
    sdk.responses.delete(third.id)
    with pytest.raises(openai.NotFoundError):
        sdk.responses.retrieve(third.id)


def test_items_of_a_response_are_input_again(sdk: openai.OpenAI) -> None:
    question = asking(f"<think>\nHm.\n</think>\n\n{CALL}", "It is sunny.", reasoning={"effort": "low"}, store=False)
    first = sdk.responses.create(**question, tools=TOOLS)
    assert [item.type for item in first.output] == ["reasoning", "function_call"]
    assert first.usage
    assert first.usage.output_tokens_details.reasoning_tokens
    items: Any = [{"role": "user", "content": question["input"]}, *(item.model_dump() for item in first.output)]
    call = first.output[-1]
    assert isinstance(call, ResponseFunctionToolCall)
    items.append({"type": "function_call_output", "call_id": call.call_id, "output": "sunny"})
    assert sdk.responses.create(**question | {"input": items}, tools=TOOLS).output_text == "It is sunny."


def test_the_stream_helper_gathers_text_and_calls(sdk: openai.OpenAI) -> None:
    with sdk.responses.stream(**asking("I look it up.\n" + CALL), tools=TOOLS) as stream:
        events = list(stream)
        response = stream.get_final_response()
    texts = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(texts) == response.output_text == "I look it up."
    assert len(texts) > 1
    arguments = [event for event in events if event.type == "response.function_call_arguments.delta"]
    assert arguments[-1].snapshot == '{"city": "Rome"}'
    (call,) = (item for item in response.output if item.type == "function_call")
    assert call.parsed_arguments == {"city": "Rome"}
    assert sdk.responses.retrieve(response.id).output_text == "I look it up."


def test_output_is_parsed_whole_and_streamed(sdk: openai.OpenAI) -> None:
    expected = Report(city="Rome", degrees=21)
    assert sdk.responses.parse(**asking(REPORT), text_format=Report).output_parsed == expected
    with sdk.responses.stream(**asking(REPORT), text_format=Report) as stream:
        assert stream.get_final_response().output_parsed == expected


async def test_the_asynchronous_client_does_the_same(async_sdk: openai.AsyncOpenAI) -> None:
    response = await async_sdk.responses.create(**asking("It is sunny."))
    assert response.output_text == "It is sunny."
    assert await async_sdk.responses.retrieve(response.id) == response
    events = [event async for event in await async_sdk.responses.create(**asking("It is sunny."), stream=True)]
    assert events[-1].type == "response.completed"
    async with async_sdk.responses.stream(**asking(CALL), tools=TOOLS) as stream:
        (call,) = (await stream.get_final_response()).output
    assert call.type == "function_call"
    assert call.parsed_arguments == {"city": "Rome"}
    parsed = await async_sdk.responses.parse(**asking(REPORT), text_format=Report)
    assert parsed.output_parsed == Report(city="Rome", degrees=21)


def test_the_tokens_of_an_input_are_counted(sdk: openai.OpenAI) -> None:
    asked = asking("It is sunny.", "Still sunny.")
    first = sdk.responses.create(**asked)
    assert first.usage
    counted = sdk.responses.input_tokens.count(**asked)
    assert (counted.object, counted.input_tokens) == ("response.input_tokens", first.usage.input_tokens)
    later: Any = {"model": MODEL, "input": "And now?", "previous_response_id": first.id}
    second = sdk.responses.create(**later)
    assert second.usage
    assert sdk.responses.input_tokens.count(**later).input_tokens == second.usage.input_tokens


def test_an_error_is_the_sdks(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="web_search"):
        sdk.responses.create(**asking("Hi."), tools=[{"type": "web_search"}])
    with pytest.raises(openai.NotFoundError, match="nosuch"):
        sdk.responses.create(model="nosuch", input="Hi.")
