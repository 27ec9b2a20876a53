"""Tool calls and reasoning of the real model: on both wires, streamed and whole, the same message."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections import defaultdict
from typing import Any

import httpx
import jsonschema
import orjson
import pytest
from langchain_core.tools import tool as langchain_tool
from langchain_openai import ChatOpenAI

from tests.live.clients.channels import PATH, forget, opened, posted, read_on
from tests.live.servers.server import MODEL, Server

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 40}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "description": "The weather in a city", "parameters": SCHEMA},
}
TIME = {
    "type": "function",
    "function": {
        "name": "get_time",
        "description": "The time in a zone",
        "parameters": {"type": "object", "properties": {"zone": {"enum": ["utc", "cet"]}}, "required": ["zone"]},
    },
}
EXPRESSION = {"type": "grammar", "grammar": {"syntax": "regex", "definition": r"\d\d:\d\d"}}
QUESTION = [{"role": "user", "content": "What is the weather in Rome?"}]
ASKED: dict[str, Any] = {"messages": QUESTION, "max_tokens": 200, "ignore_eos": False, "tools": [WEATHER, TIME]}


def message_of(data: list[bytes]) -> dict[str, Any]:
    """What the chunks add up to, as a client gathers them; ids are left out."""
    text: dict[str, str] = defaultdict(str)
    calls: dict[int, dict[str, str]] = {}
    reason = None
    for raw in data:
        for choice in orjson.loads(raw)["choices"]:
            reason = choice["finish_reason"] or reason
            delta = choice["delta"]
            for field in ("content", "reasoning"):
                text[field] += delta.get(field) or ""
            for call in delta.get("tool_calls", ()):
                function = call["function"]
                if call["index"] not in calls:
                    assert call["id"].startswith("call_")
                    assert call["type"] == "function"
                    calls[call["index"]] = {"name": function["name"], "arguments": ""}
                else:
                    assert call.keys() == {"index", "function"}
                    assert function.keys() == {"arguments"}
                calls[call["index"]]["arguments"] += function["arguments"]
    return {"text": dict(text), "calls": [calls[index] for index in sorted(calls)], "finish_reason": reason}


def whole_message(server: Server, **more: Any) -> dict[str, Any]:
    body = {"model": MODEL, "temperature": 0} | ASKED | more
    response = httpx.post(f"{server.url}{PATH}", json=body, timeout=60)
    assert response.status_code == 200, response.text
    (choice,) = response.json()["choices"]
    message = choice["message"]
    return {
        "text": {"content": message["content"] or "", "reasoning": message.get("reasoning", "")},
        "calls": [call["function"] for call in message.get("tool_calls", ())],
        "finish_reason": choice["finish_reason"],
    }


CASES: dict[str, dict[str, Any]] = {
    "auto": {},
    "required": {"tool_choice": "required"},
    "named": {"tool_choice": {"type": "function", "function": {"name": "get_time"}}},
    "none": {"tool_choice": "none"},
    "one": {"parallel_tool_calls": False},
    "thinking": {"reasoning_effort": "low"},
    "thinking and required": {"reasoning_effort": "low", "tool_choice": "required"},
    "thinking without tools": {"reasoning_effort": "low", "tools": []},
    "hidden thoughts": {"reasoning_effort": "low", "include_reasoning": False},
    "cut": {"max_tokens": 14},
    "no call": {"messages": [{"role": "user", "content": "Hello"}]},
}


@pytest.mark.parametrize("case", CASES)
async def test_both_wires_and_the_whole_answer_have_the_same_message(server: Server, case: str) -> None:
    fields = ASKED | CASES[case]
    async with posted(server, **fields) as events:
        await events.read()
    async with opened(server) as channel:
        stream = await channel.create(**fields)
        await channel.finish()
    streamed = message_of(events.data)
    assert message_of(stream.data) == streamed
    assert whole_message(server, **CASES[case]) == streamed
    expected_reason = {"named": "stop", "none": "stop", "thinking without tools": "stop", "no call": "stop"}
    assert streamed["finish_reason"] == ("length" if case == "cut" else expected_reason.get(case, "tool_calls"))
    assert bool(streamed["text"]["reasoning"]) == case.startswith("thinking")
    if streamed["finish_reason"] == "tool_calls":
        assert streamed["calls"] == [{"name": "get_weather", "arguments": '{"city": "Rome"}'}]
    tags = ("<tool_call>", "<think>", "</think>")
    if case != "none":
        assert not any(tag in text for tag in tags for text in streamed["text"].values())


async def test_forced_calls_are_valid_a_hundred_times(server: Server) -> None:
    tools: list[dict[str, Any]] = [WEATHER, TIME]
    schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in tools}
    choices = ("required", {"type": "function", "function": {"name": "get_time"}})
    places = asyncio.Semaphore(16)

    async def once(client: httpx.AsyncClient, seed: int, choice: object, effort: str) -> list[dict[str, str]]:
        body = {"model": MODEL, "temperature": 1, "seed": seed, "tool_choice": choice, "reasoning_effort": effort}
        async with places:
            response = await client.post(f"{server.url}{PATH}", json=ASKED | {"max_tokens": 400} | body)
        assert response.status_code == 200, response.text
        (answer,) = response.json()["choices"]
        assert answer["finish_reason"] != "length", answer
        calls: list[dict[str, str]] = [call["function"] for call in answer["message"]["tool_calls"]]
        assert not answer["message"]["content"]
        return calls

    async with httpx.AsyncClient(timeout=120, limits=httpx.Limits(max_connections=None)) as client:
        kinds = itertools.cycle(itertools.product(choices, ("none", "low")))
        calls = [once(client, seed, *kind) for seed, kind in zip(range(100), kinds, strict=False)]
        answers = await asyncio.gather(*calls)
    for made in answers:
        assert made
        for call in made:
            jsonschema.validate(json.loads(call["arguments"]), schemas[call["name"]])


@pytest.mark.parametrize("effort", ["none", "low"])
def test_a_schema_holds_with_and_without_thoughts(server: Server, effort: str) -> None:
    schema = {"type": "object", "properties": {"answer": {"enum": ["yes", "no"]}}, "required": ["answer"]}
    wanted = {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": schema | {"additionalProperties": False}},
    }
    message = whole_message(server, tools=[], response_format=wanted, reasoning_effort=effort)
    assert json.loads(message["text"]["content"])["answer"] in ("yes", "no")
    assert bool(message["text"]["reasoning"]) == (effort == "low")


@pytest.mark.parametrize("fields", [{"tools": []}, {}, {"tool_choice": "required"}], ids=["text", "auto", "required"])
def test_thoughts_end_where_their_budget_does(server: Server, fields: dict[str, Any]) -> None:
    body = {"model": MODEL, "temperature": 0, "reasoning_effort": "high", "thinking_token_budget": 3}
    answer = httpx.post(f"{server.url}{PATH}", json=ASKED | body | fields, timeout=60).json()
    (choice,), usage = answer["choices"], answer["usage"]
    assert choice["finish_reason"] != "length"
    assert choice["message"]["reasoning"]
    # The tags of the thoughts may be counted with them.
    assert 3 <= usage["completion_tokens_details"]["reasoning_tokens"] <= 5
    assert bool(choice["message"].get("tool_calls")) == (fields != {"tools": []})


def test_an_answer_ends_behind_its_only_call(server: Server) -> None:
    tool = {"type": "custom", "custom": {"name": "clock", "format": EXPRESSION}}
    more = {"tools": [tool], "tool_choice": "required", "parallel_tool_calls": False}
    body = {"model": MODEL, "temperature": 1, "seed": 1} | ASKED | more
    (choice,) = httpx.post(f"{server.url}{PATH}", json=body, timeout=60).json()["choices"]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", None)
    (call,) = choice["message"]["tool_calls"]
    assert re.fullmatch(r"\d\d:\d\d", call["custom"]["input"])


async def test_a_stream_resumes_inside_a_call(server: Server) -> None:
    async with posted(server, **ASKED) as events:
        await events.read()
    uncut = message_of(events.data)
    async with posted(server, grace_s=60, **ASKED) as events:
        while not any(b'"arguments":"{' in raw for raw in events.data):
            await events.read(1)
    data = list(events.data)
    assert message_of(data) != uncut
    async with read_on(server, events.id, events.token, len(data)) as rest:
        await rest.read()
    assert message_of(data + rest.data) == uncut
    await forget(server, events.id)


def test_openais_library_runs_a_tool_loop(server: Server) -> None:
    client = server.sdk()
    messages: list[Any] = [*QUESTION]
    first = client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER], temperature=0)  # type: ignore[list-item]  # a plain dict
    (call,) = first.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert json.loads(call.function.arguments) == {"city": "Rome"}
    messages += [first.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "18 degrees, sunny"}]
    second = client.chat.completions.create(model=MODEL, messages=messages, temperature=0, max_tokens=60)
    assert second.choices[0].message.content


def test_openais_stream_helper_gathers_the_call(server: Server) -> None:
    with server.sdk().chat.completions.stream(
        model=MODEL,
        messages=QUESTION,  # type: ignore[arg-type]  # plain dicts
        tools=[WEATHER],  # type: ignore[list-item]
        temperature=0,
    ) as stream:
        completion = stream.get_final_completion()
    (call,) = completion.choices[0].message.tool_calls or []
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Rome"})


def test_langchain_binds_tools(server: Server) -> None:
    @langchain_tool
    def get_weather(city: str) -> str:
        """The weather in a city"""
        return f"sunny in {city}"

    options: dict[str, Any] = {"base_url": f"{server.url}/v1", "api_key": "unused", "model": MODEL, "temperature": 0}
    model = ChatOpenAI(**options)
    answer = model.bind_tools([get_weather]).invoke("What is the weather in Rome?")
    assert [(call["name"], call["args"]) for call in answer.tool_calls] == [("get_weather", {"city": "Rome"})]


def test_functions_are_answered_in_their_older_form(server: Server) -> None:
    body = {"model": MODEL, "temperature": 0, "messages": QUESTION, "functions": [WEATHER["function"]]}
    (choice,) = httpx.post(f"{server.url}{PATH}", json=body, timeout=60).json()["choices"]
    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"] == {"name": "get_weather", "arguments": '{"city": "Rome"}'}


def test_the_model_list_says_how_the_model_calls_and_thinks(server: Server) -> None:
    (model,) = httpx.get(f"{server.url}/v1/models", timeout=30).json()["data"]
    assert (model["tool_call_parser"], model["reasoning_parser"]) == ("hermes", "qwen3")
