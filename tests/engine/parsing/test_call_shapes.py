"""Calls held by grammar in each format whose arguments are JSON: what models of the format write gets through."""

from __future__ import annotations

from typing import Any

import pytest

from engine.parsing.formats import CALL_FORMATS
from engine.parsing.grammar import GrammarWriter
from protocol.chat.custom_tools import custom_tool
from protocol.generation import Tool, ToolChoice, Tools
from tests.engine.parsing.accepting import accepts, guide_with
from tests.engine.parsing.written import WRITERS, Call

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
NOTHING = {"type": "object", "properties": {}, "additionalProperties": False}
TOOLS = (Tool("weather", None, SCHEMA, SCHEMA), Tool("now", None, NOTHING, NOTHING))
ROME: Call = ("weather", {"city": "Rome"})
NOW: Call = ("now", {})
WRONG: Call = ("weather", {"town": "Rome"})
SHAPED = sorted(name for name in WRITERS if (found := CALL_FORMATS.get(name)) and found.shape)
each_format = pytest.mark.parametrize("name", SHAPED)
tags_are = pytest.mark.parametrize("by_bytes", [False, True], ids=["tags are tokens", "tags are text"])


def tags_of(name: str) -> tuple[str, ...]:
    shape = CALL_FORMATS[name].shape
    assert shape is not None
    tags = (*shape.before, *shape.after, *(shape.section or ()))
    return tuple(tag for tag in tags if tag[0] in "<[" and tag[-1] in ">]")


def writer(name: str, *, by_bytes: bool) -> GrammarWriter:
    found = CALL_FORMATS[name]
    ids: dict[str, int] = {} if by_bytes else guide_with(tags_of(name))[2]
    return GrammarWriter(found.tags(), ids, thinks=False, is_thinking=False, shape=found.shape)


def gets_through(name: str, grammar: str, text: str, *, by_bytes: bool) -> bool:
    return accepts(grammar, text, by_bytes=by_bytes, tags=tags_of(name))


@pytest.mark.parametrize("name", ["deepseek_v3", "deepseek_v31", "hermes", "kimi_k2", "llama3_json", "mistral"])
def test_the_usual_formats_are_among_them(name: str) -> None:
    assert name in SHAPED


@tags_are
@each_format
def test_a_forced_call_is_written_as_the_model_does(name: str, by_bytes: bool) -> None:
    grammar = writer(name, by_bytes=by_bytes).calls(Tools(TOOLS, ToolChoice("required")))
    for calls in ([ROME], [ROME, NOW], [NOW, ROME, NOW]):
        assert gets_through(name, grammar, WRITERS[name](calls), by_bytes=by_bytes), calls
    for text in ("", "Hello", WRITERS[name]([WRONG]), WRITERS[name]([("no", {})]), "Hello " + WRITERS[name]([ROME])):
        assert not gets_through(name, grammar, text, by_bytes=by_bytes), text


@tags_are
@each_format
def test_a_strict_call_holds_behind_text(name: str, by_bytes: bool) -> None:
    grammar = writer(name, by_bytes=by_bytes).calls_or_text(Tools(TOOLS))
    before = "" if name == "llama3_json" else "I look it up.\n"
    for text in ("Hello, {you}.", "", before + WRITERS[name]([ROME, NOW])):
        assert gets_through(name, grammar, text, by_bytes=by_bytes), text
    assert not gets_through(name, grammar, before + WRITERS[name]([WRONG]), by_bytes=by_bytes)


@tags_are
@each_format
def test_an_answer_ends_behind_its_only_call(name: str, by_bytes: bool) -> None:
    made = writer(name, by_bytes=by_bytes)
    tools = Tools(TOOLS, is_parallel=False)
    for grammar in (made.calls(tools), made.calls_or_text(tools)):
        one = WRITERS[name]([ROME])
        assert gets_through(name, grammar, one, by_bytes=by_bytes)
        for more in (WRITERS[name]([ROME, NOW]), one + " And so on.", one + "\n" + one):
            assert not gets_through(name, grammar, more, by_bytes=by_bytes), more


@tags_are
@each_format
def test_the_input_of_a_custom_tool_follows_its_expression(name: str, by_bytes: bool) -> None:
    tool = custom_tool("clock", None, ("regex", r"^\d\d:\d\d( \"[ap]m\")?$"), ())
    grammar = writer(name, by_bytes=by_bytes).calls(Tools((tool,), ToolChoice("required")))

    def passes(text: Any) -> bool:
        return gets_through(name, grammar, WRITERS[name]([("clock", {"input": text})]), by_bytes=by_bytes)

    assert passes("12:30")
    assert passes('12:30 "am"')
    assert not passes("at 12:30")
    assert not passes("12:3")


@tags_are
@each_format
@pytest.mark.parametrize("tool", ["NUMBER", "number"])
def test_a_tool_may_have_any_name(name: str, by_bytes: bool, tool: str) -> None:
    tools = Tools((Tool(tool, None, NOTHING, NOTHING),), ToolChoice("required"))
    grammar = writer(name, by_bytes=by_bytes).calls(tools)
    assert gets_through(name, grammar, WRITERS[name]([(tool, {})]), by_bytes=by_bytes)
