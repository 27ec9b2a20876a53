"""What a request to Anthropic's API may say, what a chat template is given for it, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from protocol.errors import Fault, TwowireError
from protocol.generation import JsonOutput
from protocol.messages.request import CountTokensRequest, MessagesRequest
from protocol.validation.parse import parse_request, request_from_object

USER = {"role": "user", "content": "Hi"}
TOOL = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}


def asking(**more: Any) -> dict[str, Any]:
    return {"model": "guide", "max_tokens": 8, "messages": [USER]} | more


def rendered(**more: Any) -> list[dict[str, Any]]:
    return request_from_object(MessagesRequest, asking(**more)).prompt.messages


def refused(body: dict[str, Any]) -> TwowireError:
    with pytest.raises(TwowireError) as caught:
        parse_request(MessagesRequest, json.dumps(body).encode())
    return caught.value


def message(role: str, *blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "content": list(blocks)}


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said, "cache_control": {"type": "ephemeral"}}


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        ("Be brief.", "Be brief."),
        ([text("Be brief."), text("Be kind.")], "Be brief.\nBe kind."),
        ([text("x-anthropic-billing-header: cch=1;"), text("Be kind.")], "Be kind."),
        ("x-anthropic-billing-header: cch=1;\nBe kind.", "Be kind."),
        ([text("x-anthropic-billing-header: cch=1;")], None),
        ([], None),
        ("", None),
    ],
)
def test_the_system_prompt_comes_first(system: Any, expected: str | None) -> None:
    first = [] if expected is None else [{"role": "system", "content": expected}]
    assert rendered(system=system) == [*first, USER]


@pytest.mark.parametrize("signature", [{"signature": "anything"}, {"signature": ""}, {"signature": None}, {}])
def test_any_signature_is_taken_back(signature: dict[str, Any]) -> None:
    thinking = {"type": "thinking", "thinking": "Hm.", **signature}
    redacted = {"type": "redacted_thinking", "data": "x"}
    said = rendered(messages=[USER, message("assistant", thinking, redacted, text("Yes.")), USER])
    assert said[1] == {"role": "assistant", "content": "Yes.", "reasoning": "Hm.", "reasoning_content": "Hm."}


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({}, ""),
        ({"content": "sun"}, "sun"),
        ({"content": [text("sun"), text("and rain")]}, "sun\nand rain"),
        ({"content": [{"type": "document", "title": "A", "source": {"type": "text", "data": "B"}}]}, "A\nB"),
        ({"content": "no", "is_error": True}, "Error: no"),
        ({"content": "Error: no", "is_error": True}, "Error: no"),
        ({"content": "fine", "is_error": False}, "fine"),
        ({"content": []}, ""),
    ],
)
def test_a_result_is_a_message_of_its_own(result: dict[str, Any], expected: str) -> None:
    block = {"type": "tool_result", "tool_use_id": "c", **result}
    assert rendered(messages=[message("user", block)]) == [{"role": "tool", "content": expected, "tool_call_id": "c"}]


def test_a_last_message_of_the_assistant_is_continued() -> None:
    prompt = request_from_object(MessagesRequest, asking(messages=[USER, message("assistant", text("I"))])).prompt
    assert prompt.continue_final_message
    assert not request_from_object(MessagesRequest, asking()).prompt.continue_final_message


@pytest.mark.parametrize(
    ("thinking", "thinks", "display"),
    [
        (None, False, None),
        ({"type": "disabled"}, False, None),
        ({"type": "between_tools"}, False, None),
        ({"type": "adaptive"}, None, "summarized"),
        ({"type": "enabled", "budget_tokens": 1024}, True, "summarized"),
        ({"type": "enabled", "budget_tokens": 1024, "display": "omitted"}, True, "omitted"),
    ],
)
def test_thinking(thinking: Any, thinks: bool | None, display: str | None) -> None:
    request = request_from_object(MessagesRequest, asking(thinking=thinking))
    wanted = request.generation_request()
    assert (wanted.thinks, request.thinking_display) == (thinks, display)
    assert wanted.max_thoughts == (thinking or {}).get("budget_tokens")


@pytest.mark.parametrize(
    ("choice", "mode", "names", "is_parallel"),
    [
        (None, "auto", (), True),
        ({"type": "auto"}, "auto", (), True),
        ({"type": "any", "disable_parallel_tool_use": True}, "required", (), False),
        ({"type": "tool", "name": "weather"}, "required", ("weather",), True),
        ({"type": "none"}, "none", (), True),
    ],
)
def test_tool_choice(choice: Any, mode: str, names: tuple[str, ...], is_parallel: bool) -> None:
    tools = request_from_object(MessagesRequest, asking(tools=[TOOL], tool_choice=choice)).generation_request().tools
    assert tools is not None
    assert (tools.choice.mode, tools.choice.names, tools.is_parallel) == (mode, names, is_parallel)
    assert (tools.tools[0].followed is not None) == (mode == "required" or not is_parallel)


@pytest.mark.parametrize("field", ["cache_control", "metadata", "service_tier", "context_management", "betas"])
def test_what_changes_nothing_is_accepted(field: str) -> None:
    assert request_from_object(MessagesRequest, asking(**{field: {"x": 1}})).unknown_fields == ()


def test_the_older_form_of_structured_outputs_is_followed() -> None:
    wanted = {"type": "json_schema", "schema": TOOL["input_schema"]}
    for fields in ({"output_format": wanted}, {"output_config": {"format": wanted}}):
        constraint = request_from_object(MessagesRequest, asking(**fields)).generation_request().constraint
        assert isinstance(constraint, JsonOutput)
        assert constraint.schema["properties"] == {"city": {"type": "string"}}


def test_search_results_are_text() -> None:
    found = {"type": "search_result", "source": "a.txt", "title": "A", "content": [text("It rains.")]}
    assert rendered(messages=[message("user", found, text("Well?"))])[0]["content"] == "A\na.txt\nIt rains.\nWell?"
    result = {"type": "tool_result", "tool_use_id": "t", "content": [found]}
    assert rendered(messages=[message("user", result)])[0]["content"] == "A\na.txt\nIt rains."


def test_a_count_needs_no_limit_of_tokens() -> None:
    body = asking(tools=[TOOL], thinking={"type": "adaptive"})
    del body["max_tokens"]
    assert request_from_object(CountTokensRequest, body).generation_request().tools is not None
    assert refused(body).param == "max_tokens"


VIDEO = {"type": "video"}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "x"}}
WRONG: list[tuple[dict[str, Any], str, Fault]] = [
    ({"max_tokens": 0}, "max_tokens", Fault.INVALID_VALUE),
    ({"messages": []}, "messages", Fault.INVALID_VALUE),
    ({"messages": [USER | {"role": "tool"}]}, "messages[0].role", Fault.INVALID_VALUE),
    ({"messages": [{"content": "x"}]}, "messages[0].role", Fault.MISSING_FIELD),
    ({"messages": ["x"]}, "messages[0]", Fault.INVALID_TYPE),
    ({"messages": [{"role": "user"}]}, "messages[0].content", Fault.MISSING_FIELD),
    ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content", Fault.INVALID_TYPE),
    ({"messages": [message("user", VIDEO)]}, "messages[0].content[0].type", Fault.UNSUPPORTED_CONTENT),
    (
        {"messages": [message("user", {"type": "tool_result", "tool_use_id": "c", "content": [VIDEO]})]},
        "messages[0].content[0].content[0].type",
        Fault.UNSUPPORTED_CONTENT,
    ),
    ({"messages": [message("user", "x")]}, "messages[0].content[0]", Fault.INVALID_TYPE),  # type: ignore[arg-type]  # wrong
    ({"messages": [message("user", {"text": "x"})]}, "messages[0].content[0].type", Fault.MISSING_FIELD),
    ({"messages": [message("user", {"type": "tool_use"})]}, "messages[0].content[0].type", Fault.UNSUPPORTED_CONTENT),
    (
        {"messages": [USER, message("assistant", {"type": "server_tool_use"}), USER]},
        "messages[1].content[0].type",
        Fault.UNSUPPORTED_CONTENT,
    ),
    (
        {"messages": [message("user", {"type": "document", "source": {"type": "url", "url": "x"}})]},
        "messages[0].content[0].source.type",
        Fault.UNSUPPORTED_CONTENT,
    ),
    (
        {"messages": [USER, message("assistant", {"type": "tool_use", "id": "c", "name": "a", "input": "x"}), USER]},
        "messages[1].content[0].input",
        Fault.INVALID_TYPE,
    ),
    (
        {"messages": [USER, message("assistant", {"type": "tool_use", "id": "c", "name": "a", "input": {}})]},
        "messages[1]",
        Fault.INVALID_VALUE,
    ),
    ({"messages": [USER, message("assistant", text(" "))]}, "messages[1]", Fault.INVALID_VALUE),
    ({"messages": [USER, message("assistant", text("I"))], "tools": [TOOL]}, "messages[1]", Fault.INVALID_VALUE),
    (
        {"messages": [USER, message("assistant", text("I"))], "thinking": {"type": "adaptive"}},
        "messages[1]",
        Fault.INVALID_VALUE,
    ),
    ({"system": [IMAGE]}, "system[0].type", Fault.UNSUPPORTED_CONTENT),
    ({"system": {"type": "text"}}, "system", Fault.INVALID_TYPE),
    ({"tools": [TOOL, TOOL]}, "tools[1].name", Fault.INVALID_VALUE),
    ({"tools": [{"name": "x"}]}, "tools[0].input_schema", Fault.MISSING_FIELD),
    ({"tools": [TOOL | {"name": "a b"}]}, "tools[0].name", Fault.INVALID_VALUE),
    ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools[0].type", Fault.UNSUPPORTED_CONTENT),
    (
        {"tools": [TOOL | {"strict": True, "input_schema": {"$ref": "elsewhere"}}]},
        "tools[0].input_schema",
        Fault.INVALID_SCHEMA,
    ),
    ({"tool_choice": {"type": "any"}}, "tool_choice", Fault.INVALID_VALUE),
    ({"tools": [TOOL], "tool_choice": {"type": "tool"}}, "tool_choice.name", Fault.MISSING_FIELD),
    ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "x"}}, "tool_choice.name", Fault.INVALID_VALUE),
    ({"tools": [TOOL], "tool_choice": {"type": "required"}}, "tool_choice.type", Fault.INVALID_VALUE),
    ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens", Fault.MISSING_FIELD),
    ({"thinking": {"type": "enabled", "budget_tokens": 10}}, "thinking.budget_tokens", Fault.INVALID_VALUE),
    ({"output_config": {"effort": "none"}}, "output_config.effort", Fault.INVALID_VALUE),
    ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema", Fault.MISSING_FIELD),
    ({"stop_sequences": ["x"] * 17}, "stop_sequences", Fault.INVALID_VALUE),
    ({"stop_sequences": [""]}, "stop_sequences[0]", Fault.INVALID_VALUE),
    ({"temperature": 3}, "temperature", Fault.INVALID_VALUE),
    ({"mcp_servers": [{"url": "x"}]}, "mcp_servers", Fault.UNSUPPORTED_FIELD),
    ({"container": "x"}, "container", Fault.UNSUPPORTED_FIELD),
]


@pytest.mark.parametrize(("wrong", "param", "fault"), WRONG)
def test_what_is_wrong_is_named(wrong: dict[str, Any], param: str, fault: Fault) -> None:
    error = refused(asking(**wrong))
    assert (error.param, error.fault) == (param, fault)
    assert param in error.message
    assert "\x00" not in error.message


def test_deep_arguments_are_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(64):
        deep = {"a": deep}
    use = {"type": "tool_use", "id": "c", "name": "a", "input": deep}
    assert "64 levels" in refused(asking(messages=[USER, message("assistant", use), USER])).message
