"""Clients of Anthropic's API other than its SDK: LangChain, LiteLLM, a conformance suite, Claude Code's requests."""

from __future__ import annotations

import dataclasses
import functools
import json
import operator
from pathlib import Path
from typing import Any

import httpx
import llm_comply
import pytest
from llm_comply.schema import SpecLoader

from tests.live.servers.dialogue import THE_REQUEST, Dialogue
from tests.live.servers.server import MODEL, Server

CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome"}}\n</tool_call>'
ANSWER = f"<think>\nOf Rome.\n</think>\n\nI look.\n{CALL}\n{CALL.replace('Rome', 'Seoul')}"
CITIES = [{"city": "Rome"}, {"city": "Seoul"}]


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"sun in {city}"


@pytest.mark.parametrize("streams", [False, True])
def test_langchain_calls_tools_and_thinks(server: Server, streams: bool) -> None:
    from langchain_anthropic import ChatAnthropic
    from langchain_core.messages import BaseMessage, HumanMessage, ToolMessage

    options: Any = {
        "model": MODEL,
        "base_url": server.url,
        "api_key": "unused",
        "max_tokens": 2048,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }
    model = ChatAnthropic(**options).bind_tools([get_weather])
    messages: list[BaseMessage] = [HumanMessage(f"How is the weather? {Dialogue(ANSWER, 'Sunny.')}")]

    def answer() -> Any:
        if not streams:
            return model.invoke(messages)
        chunks: list[Any] = list(model.stream(messages))
        return functools.reduce(operator.add, chunks)

    first = answer()
    assert [call["args"] for call in first.tool_calls] == CITIES
    kinds = [block["type"] for block in first.content_blocks]
    assert kinds[:2] == ["reasoning", "text"]
    assert first.usage_metadata["output_tokens"] > 0
    messages += [first, *(ToolMessage("sun", tool_call_id=call["id"]) for call in first.tool_calls)]
    assert answer().text == "Sunny."


@pytest.mark.parametrize("streams", [False, True])
def test_litellm_calls_tools_and_thinks(server: Server, streams: bool) -> None:
    # After its environment is set: otherwise the import downloads a list of prices.
    import litellm

    tool = {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
    messages: list[Any] = [{"role": "user", "content": f"How is the weather? {Dialogue(ANSWER, 'Sunny.')}"}]
    asking: Any = {
        "model": f"anthropic/{MODEL}",
        "messages": messages,
        "tools": [{"type": "function", "function": tool}],
        "api_base": server.url,
        "api_key": "unused",
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        # It knows no model of this name.
        "allowed_openai_params": ["thinking"],
        "max_tokens": 2048,
        "stream": streams,
    }

    def answer() -> Any:
        answered: Any = litellm.completion(**asking)
        if streams:
            answered = litellm.stream_chunk_builder(list(answered))
        return answered.choices[0]

    first = answer()
    assert first.finish_reason == "tool_calls"
    assert (first.message.content, first.message.reasoning_content) == ("I look.", "Of Rome.")
    calls = first.message.tool_calls
    assert [json.loads(call.function.arguments) for call in calls] == CITIES
    messages += [first.message, *({"role": "tool", "tool_call_id": call.id, "content": "sun"} for call in calls)]
    assert answer().message.content == "Sunny."


CASES = [
    "anth-basic-response",
    "anth-system-prompt",
    "anth-multi-turn",
    "anth-tool-calling",
    "anth-streaming-response",
    "anth-streaming-usage",
    "anth-thinking-display",
    "anth-error-handling",
]
"""All of llm-comply but the one with an image."""


@pytest.mark.parametrize("case", CASES)
def test_the_conformance_suite_passes(server: Server, case: str) -> None:
    from llm_comply.config import ComplianceConfig
    from llm_comply.result import TestStatus
    from llm_comply.runner import TestRunner
    from llm_comply.tests.anthropic import ANTHROPIC_TESTS

    assert [one.id for one in ANTHROPIC_TESTS if one.id != "anth-image-input"] == CASES
    found = next(one for one in ANTHROPIC_TESTS if one.id == case)
    said = "<think>\nHm.\n</think>\n\nHello." if case == "anth-thinking-display" else "Hello."
    if case == "anth-tool-calling":
        said = '<tool_call>\n{"name": "get_weather", "arguments": {"location": "Rome"}}\n</tool_call>'

    def request(config: ComplianceConfig) -> dict[str, Any]:
        body: dict[str, Any] = found.build_request(config)
        return body | {"system": f"{body.get('system', '')} {Dialogue(said, said)}"}

    scripted = dataclasses.replace(found, build_request=request, skip_reason=None)
    config = ComplianceConfig(f"{server.url}/v1", "unused", MODEL, extra_headers={"anthropic-version": "2023-06-01"})
    result = TestRunner(config, [scripted], SpecLoader(SPEC)).run_one(scripted)
    assert result.status is TestStatus.PASSED, result.errors
    assert result.warnings == []


SPEC = str(Path(llm_comply.__file__).parent / "specs" / "anthropic.json")
BILLING = "x-anthropic-billing-header: cc_version=2.3.1.{}; cc_entrypoint=cli; cch={};"


def claude_code_request(dialogue: Dialogue, turn: int) -> dict[str, Any]:
    """The shape of Claude Code's requests, its instructions and tools cut short."""
    cached = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "command": {"type": "string", "description": "The command"},
            "timeout": {"type": "number", "description": "Milliseconds"},
        },
        "required": ["command"],
        "additionalProperties": False,
    }
    return {
        "model": MODEL,
        "max_tokens": 32000,
        "stream": True,
        "metadata": {"user_id": '{"device_id":"d","account_uuid":"","session_id":"s"}'},
        "system": [
            {"type": "text", "text": BILLING.format(turn, f"{turn:05x}")},
            {"type": "text", "text": "You are Claude Code, Anthropic's official CLI for Claude.", **cached},
            {"type": "text", "text": f"Help with software. {dialogue}", **cached},
        ],
        "tools": [
            {"name": "Bash", "description": "Runs a command.", "input_schema": schema, "eager_input_streaming": True},
            {"name": "mcp__" + "long-server-name__" * 4 + "tool", "description": "", "input_schema": schema},
        ],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "<system-reminder>\nA context.\n</system-reminder>"},
                    {"type": "text", "text": "List the files.", **cached},
                ],
            },
            {"role": "system", "content": "The task tools have not been used."},
        ],
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": "high"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "a_member_of_tomorrow": {"x": 1},
    }


def post(server: Server, body: dict[str, Any]) -> httpx.Response:
    headers = {
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27",
        "anthropic-dangerous-direct-browser-access": "true",
        "x-app": "cli",
        "user-agent": "claude-cli/2.3.1 (external, cli)",
        "x-stainless-retry-count": "0",
        "x-api-key": "a-key-for-elsewhere",
        "authorization": "Bearer another-key",
    }
    return httpx.post(f"{server.url}/v1/messages?beta=true", json=body, headers=headers, timeout=60)


def test_claude_codes_requests_are_answered(server: Server) -> None:
    call = '<tool_call>\n{"name": "Bash", "arguments": {"command": "ls"}}\n</tool_call>'
    response = post(server, claude_code_request(Dialogue(f"I look.\n{call}"), 1))
    assert response.status_code == 200, response.text
    assert response.headers["request-id"] == response.headers["x-request-id"]
    events = [json.loads(line.removeprefix("data: ")) for line in response.text.splitlines() if line.startswith("data")]
    assert events[-1] == {"type": "message_stop"}
    spec = SpecLoader(SPEC)
    for event in events:
        schema = "".join(word.title() for word in event["type"].split("_")) + "Event"
        assert spec.validate(event, schema) == []
    assert events[-2]["delta"]["stop_reason"] == "tool_use"
    partial = [event["delta"]["partial_json"] for event in events if "partial_json" in event.get("delta", {})]
    assert json.loads("".join(partial)) == {"command": "ls"}


def test_claude_codes_prompts_begin_alike(server: Server) -> None:
    """What changes with each request is left out, or no prefix would be cached; reminders stay at their place."""
    asked = []
    for turn in (1, 2):
        body = claude_code_request(Dialogue(THE_REQUEST), turn) | {"stream": False}
        (block,) = post(server, body).json()["content"]
        asked.append(json.loads(block["text"]))
    assert asked[0]["messages"] == asked[1]["messages"]
    system, user, reminder = asked[0]["messages"]
    assert system["content"].startswith("You are Claude Code")
    assert user["content"] == "<system-reminder>\nA context.\n</system-reminder>\nList the files."
    assert reminder == {"role": "system", "content": "The task tools have not been used."}


def test_its_smallest_request_is_answered(server: Server) -> None:
    """It asks for one token to see whether the key is good."""
    body = {"model": MODEL, "max_tokens": 1, "messages": [{"role": "user", "content": f". {Dialogue('Hello there.')}"}]}
    message = post(server, body).json()
    assert (message["stop_reason"], message["usage"]["output_tokens"]) == ("max_tokens", 1)


def test_its_web_search_is_refused_by_name(server: Server) -> None:
    body = claude_code_request(Dialogue("Hi."), 1)
    body["tools"] = [{"type": "web_search_20250305", "name": "web_search", "max_uses": 8}]
    refused = post(server, body)
    assert refused.status_code == 400
    error = refused.json()
    assert (error["type"], error["error"]["type"]) == ("error", "invalid_request_error")
    assert "tools[0].type 'web_search_20250305' is not offered" in error["error"]["message"]
    assert error["request_id"] == refused.headers["request-id"]
