"""The tools of a chat: what may be declared and chosen, and what a refusal names."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from protocol.chat.custom_tools import CUSTOM_SCHEMA
from protocol.chat.request import ChatCompletionRequest
from protocol.chat.tools import MAX_TOOLS, MAX_TOOLS_BYTES
from protocol.errors import Fault, TwowireError
from protocol.generation import GenerationRequest, ToolChoice, Tools
from protocol.validation.parse import parse_request

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def tool(name: str = "weather", **function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": SCHEMA} | function}


SHELL = {"type": "custom", "custom": {"name": "shell", "description": "Runs a command."}}


def asked(**fields: Any) -> GenerationRequest:
    return parse_request(ChatCompletionRequest, orjson.dumps(CHAT | fields)).generation_request()


def tools_of(**fields: Any) -> Tools:
    tools = asked(**fields).tools
    assert tools is not None
    return tools


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def allowed(mode: str, *names: str) -> dict[str, Any]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [named(name) for name in names]}}


ALLOWED = "tool_choice.allowed_tools"
ALLOWED_NAME = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": ["f"]}}


@pytest.mark.parametrize(
    ("choice", "expected", "callable_now"),
    [
        (None, ToolChoice("auto"), ["weather", "now"]),
        ("auto", ToolChoice("auto"), ["weather", "now"]),
        ("none", ToolChoice("none"), []),
        ("required", ToolChoice("required"), ["weather", "now"]),
        (named("now"), ToolChoice("required", ("now",), is_named=True), ["now"]),
        (allowed("auto", "now"), ToolChoice("auto", ("now",)), ["now"]),
        (allowed("required", "now", "weather"), ToolChoice("required", ("now", "weather")), ["weather", "now"]),
    ],
)
def test_a_choice_says_what_may_be_called(choice: object, expected: ToolChoice, callable_now: list[str]) -> None:
    tools = tools_of(tools=[tool(), tool("now")], tool_choice=choice)
    assert tools.choice == expected
    assert [one.name for one in tools.callable] == callable_now


def test_a_tool_is_handed_on_as_it_was_declared() -> None:
    (one,) = tools_of(tools=[tool(description="Of a city.")]).tools
    assert (one.name, one.description, one.parameters) == ("weather", "Of a city.", SCHEMA)
    assert not one.is_strict


@pytest.mark.parametrize(
    ("fields", "is_held"),
    [
        ({}, False),
        ({"tool_choice": "required"}, True),
        ({"tool_choice": named("weather")}, True),
        ({"parallel_tool_calls": False}, True),
        ({"tools": [tool(strict=True)]}, True),
    ],
)
def test_a_grammar_holds_arguments_where_it_must(fields: dict[str, Any], is_held: bool) -> None:
    (one,) = tools_of(**({"tools": [tool()]} | fields)).tools
    assert (one.followed is not None) == is_held


def test_a_schema_that_no_grammar_holds_is_refused_only_where_it_is_strict() -> None:
    schema = {"type": "object", "properties": {"a": {"contains": {}}}}
    (one,) = tools_of(tools=[tool(parameters=schema)], tool_choice="required").tools
    assert one.followed is None
    with pytest.raises(TwowireError) as caught:
        asked(tools=[tool(), tool("other", parameters=schema, strict=True)])
    assert (caught.value.fault, caught.value.param) == (Fault.INVALID_SCHEMA, "tools[1].function.parameters")
    assert "contains" in caught.value.message


def test_a_custom_tool_has_one_text() -> None:
    (one,) = tools_of(tools=[SHELL], tool_choice={"type": "custom", "custom": {"name": "shell"}}).tools
    assert one.is_custom
    assert one.followed == CUSTOM_SCHEMA


def with_grammar(syntax: str, definition: str) -> dict[str, Any]:
    grammar = {"syntax": syntax, "definition": definition}
    return {"type": "custom", "custom": {"name": "shell", "format": {"type": "grammar", "grammar": grammar}}}


@pytest.mark.parametrize("expression", ["ls|pwd", "^ls|pwd$"])
def test_an_expression_holds_the_input_of_a_custom_tool(expression: str) -> None:
    (one,) = tools_of(tools=[with_grammar("regex", expression)]).tools
    assert (one.is_custom, one.is_strict) == (True, True)
    assert one.followed is not None
    assert one.followed["properties"]["input"]["pattern"] == "^(?:ls|pwd)$"


def test_a_grammar_is_shown_to_the_model() -> None:
    (one,) = tools_of(tools=[with_grammar("lark", "start: /x+/")]).tools
    assert one.description is not None
    assert "start: /x+/" in one.description
    assert not one.is_strict


def test_an_expression_that_cannot_be_held_is_refused() -> None:
    with pytest.raises(TwowireError) as caught:
        asked(tools=[with_grammar("regex", "(?=a)b")])
    assert caught.value.fault is Fault.INVALID_SCHEMA
    assert caught.value.param == "tools[0].custom.format.grammar.definition"


def test_functions_are_tools_in_their_older_form() -> None:
    tools = tools_of(functions=[{"name": "f"}], function_call={"name": "f"})
    assert [one.name for one in tools.tools] == ["f"]
    assert tools.choice == ToolChoice("required", ("f",), is_named=True)
    assert not tools.is_parallel


@pytest.mark.parametrize("fields", [{"tools": []}, {"tools": None, "tool_choice": "none"}, {"tool_choice": "auto"}])
def test_no_tools_are_no_tools(fields: dict[str, Any]) -> None:
    assert asked(**fields).tools is None


@pytest.mark.parametrize(
    ("fields", "fault", "param"),
    [
        ({"tools": "f"}, Fault.INVALID_TYPE, "tools"),
        ({"tools": [tool()] * 2}, Fault.INVALID_VALUE, "tools[1].function.name"),
        ({"tools": [tool(f"f{n}") for n in range(MAX_TOOLS + 1)]}, Fault.INVALID_VALUE, "tools"),
        ({"tools": [tool(description="x" * MAX_TOOLS_BYTES)]}, Fault.INVALID_VALUE, "tools"),
        ({"tools": [tool("a b")]}, Fault.INVALID_VALUE, "tools[0].function.name"),
        ({"tools": [tool('a"b')]}, Fault.INVALID_VALUE, "tools[0].function.name"),
        ({"tools": [tool("n" * 65)]}, Fault.INVALID_VALUE, "tools[0].function.name"),
        ({"tools": [{"type": "function"}]}, Fault.MISSING_FIELD, "tools[0].function"),
        ({"tools": [{"type": "web_search"}]}, Fault.UNSUPPORTED_CONTENT, "tools[0].type"),
        ({"tools": [tool(parameters=[])]}, Fault.INVALID_TYPE, "tools[0].function.parameters"),
        ({"tools": [tool()], "tool_choice": "any"}, Fault.INVALID_VALUE, "tool_choice"),
        ({"tools": [tool()], "tool_choice": 5}, Fault.INVALID_TYPE, "tool_choice"),
        ({"tools": [tool()], "tool_choice": named("x")}, Fault.INVALID_VALUE, "tool_choice.function.name"),
        ({"tools": [tool()], "tool_choice": allowed("auto", "x")}, Fault.INVALID_VALUE, "tool_choice.allowed_tools"),
        ({"tools": [tool()], "tool_choice": {"type": "any"}}, Fault.INVALID_VALUE, "tool_choice.type"),
        ({"tools": [tool()], "tool_choice": {"name": "f"}}, Fault.MISSING_FIELD, "tool_choice.type"),
        ({"tools": [tool()], "tool_choice": allowed("none", "f")}, Fault.INVALID_VALUE, f"{ALLOWED}.mode"),
        ({"tools": [tool()], "tool_choice": ALLOWED_NAME}, Fault.INVALID_TYPE, f"{ALLOWED}.tools[0]"),
        ({"functions": [{"name": "f"}], "function_call": {}}, Fault.MISSING_FIELD, "function_call.name"),
        ({"tool_choice": "required"}, Fault.INVALID_VALUE, "tool_choice"),
        ({"tool_choice": named("f")}, Fault.INVALID_VALUE, "tool_choice"),
        ({"function_call": {"name": "f"}}, Fault.INVALID_VALUE, "function_call"),
        ({"functions": [{"name": "f"}], "tools": [tool()]}, Fault.INVALID_VALUE, "functions"),
        ({"reasoning_effort": "most"}, Fault.INVALID_VALUE, "reasoning_effort"),
    ],
)
def test_a_refusal_names_the_field(fields: dict[str, Any], fault: Fault, param: str) -> None:
    with pytest.raises(TwowireError) as caught:
        asked(**fields)
    assert (caught.value.fault, caught.value.param) == (fault, param)


@pytest.mark.parametrize(
    ("fields", "thinks"),
    [
        ({}, None),
        ({"reasoning_effort": "none"}, False),
        ({"reasoning_effort": "low"}, True),
        ({"chat_template_kwargs": {"enable_thinking": True}}, True),
        ({"chat_template_kwargs": {"thinking": False}, "reasoning_effort": "high"}, False),
    ],
)
def test_thinking_is_asked_for_in_several_ways(fields: dict[str, Any], thinks: bool | None) -> None:
    assert asked(**fields).thinks is thinks


def test_thoughts_in_the_history_have_both_names_for_the_template() -> None:
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "yes", "reasoning": "hm"},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"a": 1}'}},
        {"role": "function", "name": "f", "content": "3"},
    ]
    prompt: Any = asked(messages=messages).prompt
    assert prompt.messages[1] == {
        "role": "assistant",
        "content": "yes",
        "reasoning": "hm",
        "reasoning_content": "hm",
    }
    assert prompt.messages[2]["tool_calls"] == [{"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}]
    assert prompt.messages[3]["role"] == "tool"
