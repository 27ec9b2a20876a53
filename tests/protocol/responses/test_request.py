"""Requests for responses: fields, tools, and what is refused by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from protocol.errors import Fault, TwowireError
from protocol.generation import ChatPrompt, JsonOutput, ToolChoice
from protocol.responses.objects import response_object
from protocol.responses.request import ResponseRequest
from protocol.sampling import TokenFields
from tests.protocol.responses.requests import CITY, WEATHER, refused, request

SEARCH = {"type": "web_search"}
SPACE = {"type": "namespace", "name": "air", "description": "Air.", "tools": [WEATHER]}
NAMED = {"type": "function", "name": "weather"}


def test_sampling_is_that_of_the_other_routes() -> None:
    sampling = request(max_output_tokens=9, temperature=0.5, top_p=0.9, seed=3).generation_request().sampling
    assert (sampling.max_tokens, sampling.temperature, sampling.top_p, sampling.seed) == (9, 0.5, 0.9, 3)
    assert sampling.logprobs is None


@pytest.mark.parametrize(
    ("fields", "count"),
    [({"top_logprobs": 2}, 2), ({"include": ["message.output_text.logprobs"]}, 0), ({"top_logprobs": 0}, None)],
)
def test_logprobs_are_asked_for_in_two_ways(fields: dict[str, Any], count: int | None) -> None:
    assert request(**fields).generation_request().sampling.logprobs == count


def test_effort_says_whether_to_think() -> None:
    asked = [request(reasoning={"effort": effort}).generation_request() for effort in ("none", "low")]
    assert [(one.thinks, one.effort) for one in asked] == [(False, "none"), (True, "low")]
    assert request(reasoning={"summary": "auto"}).generation_request().thinks is None


def test_a_schema_is_followed_and_shown_as_it_was_sent() -> None:
    form = {"type": "json_schema", "name": "city", "schema": CITY, "strict": True}
    asked = request(text={"format": form})
    constraint = asked.generation_request().constraint
    assert isinstance(constraint, JsonOutput)
    assert constraint.schema["required"] == ["city"]
    assert response_object(asked, "resp_1", 0)["text"]["format"]["schema"] == CITY


def test_namespaces_are_flattened_and_custom_tools_show_their_grammar() -> None:
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: /x+/"}
    custom = {"type": "custom", "name": "patch", "description": "Patches.", "format": grammar}
    asked = request(tools=[WEATHER, SPACE, custom])
    tools = asked.generation_request().tools
    assert tools is not None
    assert [tool.name for tool in tools.tools] == ["weather", "air__weather", "patch"]
    assert "start: /x+/" in (tools.tools[2].description or "")
    assert asked.tool_set.names["air__weather"].namespace == "air"
    assert asked.tool_set.names["patch"].is_custom


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ("required", ToolChoice("required")),
        (NAMED, ToolChoice("required", ("weather",), is_named=True)),
        (NAMED | {"namespace": "air"}, ToolChoice("required", ("air__weather",), is_named=True)),
        ({"type": "allowed_tools", "mode": "auto", "tools": [NAMED]}, ToolChoice("auto", ("weather",))),
    ],
)
def test_a_choice_names_tools_by_the_models_names(choice: Any, wanted: ToolChoice) -> None:
    tools = request(tools=[WEATHER, SPACE], tool_choice=choice).generation_request().tools
    assert tools is not None
    assert tools.choice == wanted


def test_strict_arguments_are_held_to_their_schema_and_others_are_not() -> None:
    loose = request(tools=[WEATHER]).generation_request().tools
    strict = request(tools=[WEATHER | {"strict": True}]).generation_request().tools
    assert loose is not None
    assert loose.tools[0].followed is None
    assert strict is not None
    assert strict.tools[0].is_strict
    assert strict.tools[0].followed is not None


def test_hosted_tools_are_refused_by_name_unless_the_client_can_do_without() -> None:
    error = refused(tools=[WEATHER, SEARCH])
    assert (error.fault, error.param) == (Fault.UNSUPPORTED_CONTENT, "tools[1].type")
    assert "web_search" in error.message
    without: list[dict[str, Any]] = [
        {"hosted_tools": "omit"},
        {"tool_choice": "none"},
        {"tool_choice": NAMED},
        {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [NAMED]}},
    ]
    for fields in without:
        asked = request(tools=[WEATHER, SEARCH], **fields)
        tools = asked.generation_request().tools
        assert tools is not None
        assert [tool.name for tool in tools.tools] == ["weather"]
        assert [tool["type"] for tool in response_object(asked, "resp_1", 0)["tools"]] == ["function"]


def test_a_request_overrules_what_the_server_does_with_hosted_tools() -> None:
    assert request(tools=[SEARCH]).generation_request("omit").tools is None
    with pytest.raises(TwowireError, match="web_search"):
        request(tools=[SEARCH], hosted_tools="refuse").generation_request("omit")


def test_the_fields_of_chats_are_refused_with_those_of_responses() -> None:
    for name, here in (("max_tokens", "max_output_tokens"), ("messages", "input"), ("response_format", "text.format")):
        assert refused(**{name: 1}).message == f"{name} is a field of chat completions; send {here} instead."


def test_verbosity_is_taken_and_shown() -> None:
    shown = response_object(request(text={"verbosity": "low"}), "resp_1", 0)["text"]
    assert shown == {"format": {"type": "text"}, "verbosity": "low"}
    assert response_object(request(), "resp_1", 0)["text"] == {"format": {"type": "text"}}


@pytest.mark.parametrize(
    ("body", "fault", "param"),
    [
        ({"input": []}, Fault.INVALID_VALUE, "input"),
        ({"input": None}, Fault.MISSING_FIELD, "input"),
        ({"input": 5}, Fault.INVALID_TYPE, "input"),
        ({"prompt": {"id": "pmpt_1"}}, Fault.UNSUPPORTED_FIELD, "prompt"),
        ({"messages": []}, Fault.UNSUPPORTED_FIELD, "messages"),
        ({"chat_template_kwargs": []}, Fault.INVALID_TYPE, "chat_template_kwargs"),
        ({"guided_regex": "a"}, Fault.UNSUPPORTED_FIELD, "guided_regex"),
        ({"reasoning_effort": "low"}, Fault.UNSUPPORTED_FIELD, "reasoning_effort"),
        ({"max_tokens": 5}, Fault.UNSUPPORTED_FIELD, "max_tokens"),
        ({"text": {"verbosity": "silent"}}, Fault.INVALID_VALUE, "text.verbosity"),
        ({"truncation": "middle"}, Fault.INVALID_VALUE, "truncation"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, Fault.MISSING_FIELD, "text.format.schema"),
        ({"previous_response_id": "resp_1", "conversation": "conv_1"}, Fault.INVALID_VALUE, "conversation"),
        ({"stream_options": {"include_obfuscation": True}}, Fault.INVALID_VALUE, "stream_options"),
        ({"include": ["everything"]}, Fault.INVALID_VALUE, "include[0]"),
        ({"tool_choice": "required"}, Fault.INVALID_VALUE, "tool_choice"),
        (
            {"tools": [WEATHER], "tool_choice": {"type": "function", "name": "x"}},
            Fault.INVALID_VALUE,
            "tool_choice.name",
        ),
        ({"tools": [WEATHER], "tool_choice": SEARCH}, Fault.UNSUPPORTED_CONTENT, "tool_choice.type"),
        ({"tools": [WEATHER, WEATHER]}, Fault.INVALID_VALUE, "tools[1].name"),
        ({"tools": [SPACE | {"tools": []}]}, Fault.INVALID_VALUE, "tools[0].tools"),
        ({"tools": [{"type": "function"}]}, Fault.MISSING_FIELD, "tools[0].name"),
        ({"tools": [{"type": "function", "function": {"name": "x"}}]}, Fault.MISSING_FIELD, "tools[0].name"),
        ({"input": [{"role": "assistant", "content": None}]}, Fault.MISSING_FIELD, "input[0].content"),
        ({"tools": [{"type": ["function"], "name": "x"}]}, Fault.INVALID_TYPE, "tools[0].type"),
        ({"tools": [SPACE | {"tools": [{"type": {}, "name": "x"}]}]}, Fault.INVALID_TYPE, "tools[0].tools[0].type"),
        ({"tools": [{"type": "teleport"}]}, Fault.UNSUPPORTED_CONTENT, "tools[0].type"),
        ({"tools": [SPACE, SPACE | {"name": "n" * 125}]}, Fault.INVALID_VALUE, "tools[1].tools[0].name"),
        ({"min_tokens": 9, "max_output_tokens": 5}, Fault.INVALID_VALUE, "min_tokens"),
    ],
)
def test_what_is_wrong_is_refused_by_name(body: dict[str, Any], fault: Fault, param: str) -> None:
    error = refused(**body)
    assert (error.fault, error.param) == (fault, param)


def test_every_field_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "responses.md").read_text("utf-8")
    table = page.partition("## Requests")[2].partition("### Items")[0]
    named = set(re.findall(r"`(\w+)(?:\.\w+)?`", table))
    assert ResponseRequest.model_fields.keys() - TokenFields.model_fields.keys() <= named


CODEX: dict[str, Any] = {
    "instructions": "You are a coding agent.",
    "input": [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "<permissions>"}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Fix it."}]},
        {"type": "reasoning", "summary": [], "content": None, "encrypted_content": None},
        {"type": "custom_tool_call", "call_id": "c1", "name": "apply_patch", "input": "*** Begin Patch"},
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "Done."},
    ],
    "tools": [
        {"type": "function", "name": "shell", "strict": False, "parameters": CITY},
        {
            "type": "custom",
            "name": "apply_patch",
            "description": "Edits files.",
            "format": {"type": "grammar", "syntax": "lark", "definition": "start: begin_patch"},
        },
        {"type": "namespace", "name": "mcp__files__", "description": "Files.", "tools": [WEATHER]},
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"effort": "medium", "summary": "auto"},
    "store": False,
    "stream": True,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "019a",
    "client_metadata": {"x-codex-installation-id": "1"},
}
"""What Codex sends, shortened."""


def test_codex_is_understood() -> None:
    asked = request(**CODEX)
    wanted = asked.generation_request()
    assert asked.unknown_fields == ("client_metadata",)
    assert wanted.tools is not None
    assert [tool.name for tool in wanted.tools.tools] == ["shell", "apply_patch", "mcp__files__weather"]
    assert isinstance(wanted.prompt, ChatPrompt)
    assert [message["role"] for message in wanted.prompt.messages] == [
        *("system", "developer", "user", "assistant", "tool")
    ]
    assert request(**CODEX | {"hosted_tools": "omit", "tools": [SEARCH]}).generation_request().tools is None
