"""The grammars of forced calls, strict calls and JSON behind thoughts: what llguidance lets through, token by token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from engine.parsing.formats import CALL_FORMATS
from engine.parsing.grammar import GrammarWriter
from engine.parsing.tagged import Tags
from protocol.generation import TextOutput, Tool, ToolChoice, Tools
from tests.engine.parsing.accepting import accepts

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
NOTHING = {"type": "object", "properties": {}, "additionalProperties": False}
TOOLS = (Tool("weather", None, SCHEMA, SCHEMA), Tool("now", None, NOTHING, NOTHING))
BOTH = Tools(TOOLS, ToolChoice("required"))
ONE = Tools(TOOLS, ToolChoice("required", ("weather",), is_named=True), is_parallel=False)
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'
NOW = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
CHOICES = TextOutput("choice", '["yes", "a \\"no\\""]')
EXPRESSION = TextOutput("regex", r"[ab]+/\d{1,2}")
TAGGED = TextOutput(
    "structural_tag",
    orjson.dumps(
        {
            "triggers": ["[n", "<tool_call>", "unused"],
            "structures": [
                {"begin": "[n=", "schema": {"type": "integer"}, "end": "]"},
                {"begin": "<tool_call>x ", "schema": NOTHING, "end": "</tool_call>"},
            ],
        }
    ).decode(),
)
TAGS = {"<think>": 3, "</think>": 4, "<tool_call>": 5, "</tool_call>": 6}
BEFORE = {(False, False): "", (True, False): "<think>\nHm {\n</think>\n\n", (True, True): "Hm {</think>\n"}
"""What may stand before an answer, by whether it may think and whether the prompt has begun the thoughts."""


HERMES = CALL_FORMATS["hermes"].shape


def writer(thinks: bool, is_thinking: bool, token_ids: Mapping[str, int] = TAGS) -> GrammarWriter:
    return GrammarWriter(Tags(), token_ids, thinks=thinks, is_thinking=is_thinking, shape=HERMES)


@pytest.mark.parametrize("by_bytes", [False, True], ids=["tags are tokens", "tags are text"])
@pytest.mark.parametrize(("thinks", "is_thinking"), BEFORE)
@pytest.mark.parametrize(
    ("method", "arguments", "good", "bad"),
    [
        ("calls", (BOTH,), [CALL, CALL + "\n" + NOW], ["", "Hello", '<tool_call>\n{"name": "no"']),
        ("calls", (ONE,), [CALL], [CALL + CALL, NOW]),
        ("calls_or_text", (BOTH,), ["Hello", f"I look. {CALL} and {NOW}.", ""], ['<tool_call>\n{"name": "no"']),
        ("calls_or_json", (BOTH, SCHEMA), [CALL, '{"city": "Rome"}'], ["Hello", '{"town": "Rome"}']),
        ("json", (SCHEMA,), ['{"city": "Rome"}'], ["Hello", "{}"]),
        (
            "form",
            (TAGGED,),
            ["Hello", "", "One [n=7] and <tool_call>x {}</tool_call> two", "[n=7]"],
            ["[n=x", "Hello [n=7)", "<tool_call>{}"],
        ),
        ("form", (CHOICES,), ["yes", 'a "no"'], ["Hello", "yesterday"]),
        ("form", (EXPRESSION,), ["ab/1", "b/22"], ["ab", "Hello"]),
        ("call_list", (ONE,), ['[{"name": "weather", "parameters": {"city": "a"}}]'], ["[]", '[{"name": "now"']),
    ],
    ids=["calls", "one call", "calls or text", "calls or JSON", "JSON", "structural tag", "choice", "regex", "list"],
)
def test_only_what_is_wanted_gets_through(
    method: str, arguments: Any, good: list[str], bad: list[str], thinks: bool, is_thinking: bool, by_bytes: bool
) -> None:
    made = writer(thinks, is_thinking, {} if by_bytes else TAGS)
    grammar = getattr(made, method)(*arguments)
    before = BEFORE[thinks, is_thinking]
    for text in good:
        assert accepts(grammar, before + text, by_bytes=by_bytes), text
    for text in bad:
        assert not accepts(grammar, before + text, by_bytes=by_bytes), text
    if thinks and not is_thinking:
        assert accepts(grammar, good[0], by_bytes=by_bytes), "it need not think"
