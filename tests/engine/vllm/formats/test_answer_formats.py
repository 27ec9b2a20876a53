"""Answers in the formats of calls and thoughts: every format gives one message however its text comes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from engine.parsing.parts import CallArguments, CallStart, Content, Part, Reasoning, joined
from engine.vllm.formats.output_format import OutputFormat
from protocol.errors import Fault, TwowireError
from protocol.generation import GenerationRequest, JsonOutput, Sampling, TextOutput, Tool, ToolChoice, Tools
from tests.engine.vllm.formats.answer_formats import NOW, SCHEMA, WEATHER, chat, format_of


def pieces_of(text: str, rng: random.Random) -> Iterator[str]:
    at = 0
    while at < len(text):
        size = rng.choice((1, 1, 2, 3, 7, 40))
        yield text[at : at + size]
        at += size


def parts_of(found: OutputFormat, request: GenerationRequest, text: str, *, is_cut: bool = False) -> list[Part]:
    """The parts of `text`: the same in one piece, character by character, and cut at random."""
    parsing = found.answer(request, [0]).parsing
    assert parsing is not None
    seen: list[list[Part]] = []
    for pieces in ([text], list(text), *(list(pieces_of(text, random.Random(seed))) for seed in range(8))):
        parser = parsing.new()
        parts = [part for piece in pieces for part in parser.feed(piece)]
        seen.append(joined(parts + parser.finish(is_cut=is_cut)))
    assert all(parts == seen[0] for parts in seen), "the result depends on how the text was cut"
    return seen[0]


FORMATS = {
    "hermes": '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome", "days": 3}}\n</tool_call>',
    "qwen3_coder": "<tool_call>\n<function=weather>\n<parameter=city>\nRome\n</parameter>\n<parameter=days>\n3\n"
    "</parameter>\n</function>\n</tool_call>",
    "glm45": "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Rome</arg_value>\n<arg_key>days</arg_key>\n"
    "<arg_value>3</arg_value>\n</tool_call>",
    "kimi_k2": "<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:0<|tool_call_argument_begin|>"
    '{"city": "Rome", "days": 3}<|tool_call_end|><|tool_calls_section_end|>',
    "deepseek_v32": '<｜DSML｜function_calls>\n<｜DSML｜invoke name="weather">\n<｜DSML｜parameter name="city" '
    'string="true">Rome</｜DSML｜parameter>\n<｜DSML｜parameter name="days" string="false">3</｜DSML｜parameter>\n'
    "</｜DSML｜invoke>\n</｜DSML｜function_calls>",
    "minimax_m2": '<minimax:tool_call>\n<invoke name="weather">\n<parameter name="city">Rome</parameter>\n'
    '<parameter name="days">3</parameter>\n</invoke>\n</minimax:tool_call>',
    "seed_oss": "<seed:tool_call>\n<function=weather>\n<parameter=city>Rome</parameter>\n<parameter=days>3"
    "</parameter>\n</function>\n</seed:tool_call>",
    "pythonic": '[weather(city="Rome", days=3)]',
}
"""A call as models write it."""
MIXED = sorted(FORMATS.keys() - {"pythonic"})
"""Those that may stand behind text; pythonic is a call from its first character on, or none."""
CALL = [CallStart(0, "weather"), CallArguments(0, '{"city": "Rome", "days": 3}')]


def without_ids(parts: list[Part]) -> list[Part]:
    return [CallStart(part.call, part.name) if isinstance(part, CallStart) else part for part in parts]


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_call_is_the_same_however_it_comes(name: str, tokenizer: Any) -> None:
    found = format_of(tokenizer, name, "none")
    assert without_ids(parts_of(found, chat(Tools((WEATHER, NOW))), FORMATS[name])) == CALL


@pytest.mark.parametrize("name", MIXED)
def test_text_and_thoughts_before_a_call_arrive(name: str, tokenizer: Any) -> None:
    found = format_of(tokenizer, name, "qwen3")
    text = "<think>\nThe weather.\n</think>\n\nI look it up.\n" + FORMATS[name]
    parts = without_ids(parts_of(found, chat(Tools((WEATHER,)), thinks=True), text))
    assert parts == [Reasoning("The weather."), Content("I look it up."), *CALL]


@pytest.mark.parametrize("name", MIXED)
def test_text_without_calls_is_the_answer(name: str, tokenizer: Any) -> None:
    found = format_of(tokenizer, name, "none")
    text = "2 < 3, 서울, and a <b> tag.\n\nEnd"
    assert parts_of(found, chat(Tools((WEATHER,))), text) == [Content(text)]


def test_kimis_ids_are_kept(tokenizer: Any) -> None:
    found = format_of(tokenizer, "kimi_k2", "none")
    start = parts_of(found, chat(Tools((WEATHER,))), FORMATS["kimi_k2"])[0]
    assert start == CallStart(0, "weather", "functions.weather:0")


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_cut_call_is_never_completed(name: str, tokenizer: Any) -> None:
    found = format_of(tokenizer, name, "none")
    parsing = found.answer(chat(Tools((WEATHER,))), [0]).parsing
    assert parsing is not None
    whole = FORMATS[name]
    for end in range(1, len(whole) - 1, 3):
        parser = parsing.new()
        parts = joined(parser.feed(whole[:end]) + parser.finish(is_cut=True))
        written = "".join(part.text for part in parts if isinstance(part, CallArguments))
        assert '{"city": "Rome", "days": 3}'.startswith(written)


def test_without_tools_and_thoughts_there_is_no_parser(tokenizer: Any) -> None:
    found = format_of(tokenizer)
    assert found.answer(chat(), [0]).parsing is None
    assert found.answer(chat(Tools((WEATHER,), ToolChoice("none"))), [0]).parsing is None


def test_a_forced_call_in_a_foreign_format_is_a_list(tokenizer: Any) -> None:
    found = format_of(tokenizer, "qwen3_coder", "none")
    request = chat(Tools((WEATHER, NOW), ToolChoice("required")))
    assert found.answer(request, [0]).constraint is not None
    text = '[{"name": "weather", "parameters": {"city": "Rome", "days": 3}}, {"name": "now", "parameters": {}}]'
    assert parts_of(found, request, text) == [*CALL, CallStart(1, "now"), CallArguments(1, "{}")]


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        (chat(Tools((WEATHER,))), None),
        (chat(Tools((WEATHER,), ToolChoice("required"))), "grammar"),
        (chat(Tools((WEATHER,), is_parallel=False)), "grammar"),
        (chat(Tools((Tool("weather", None, SCHEMA, SCHEMA, is_strict=True),))), "grammar"),
        (chat(Tools((WEATHER,)), constraint=JsonOutput(SCHEMA)), "grammar"),
        (chat(constraint=JsonOutput(SCHEMA)), "json"),
        (chat(constraint=JsonOutput(SCHEMA), thinks=True), "grammar"),
        (chat(thinks=True), None),
    ],
)
def test_a_grammar_is_made_where_one_must_hold(request_: GenerationRequest, kind: str | None, tokenizer: Any) -> None:
    constraint = format_of(tokenizer).answer(request_, [0]).constraint
    assert (constraint and constraint.kind) == kind


STRICT = Tool("weather", None, SCHEMA, SCHEMA, is_strict=True)


@pytest.mark.parametrize(
    ("name", "is_held"),
    [("kimi_k2", True), ("deepseek_v31", True), ("llama3_json", True), ("mistral", False), ("glm45", False)],
)
def test_a_strict_call_is_held_where_arguments_are_json(name: str, is_held: bool, tokenizer: Any) -> None:
    # The guide's tokenizer does not know `[ARGS]`, as those of Mistral's older models.
    found = format_of(tokenizer, name, "none")
    assert (found.answer(chat(Tools((STRICT,))), [0]).constraint is not None) == is_held
    assert (found.shape is not None) == is_held


def test_json_that_looks_like_a_call_without_tags_is_json(tokenizer: Any) -> None:
    found = format_of(tokenizer, "llama3_json", "none")
    answer = found.answer(chat(Tools((WEATHER,)), constraint=JsonOutput(SCHEMA)), [0])
    assert (answer.constraint and answer.constraint.kind, answer.parsing) == ("json", None)


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ({"thinks": True, "max_thoughts": 7}, 7),
        ({"thinks": True, "max_thoughts": 7, "constraint": JsonOutput(SCHEMA)}, 7),
        ({"thinks": True, "max_thoughts": 7, "tools": Tools((WEATHER,))}, 7),
        ({"thinks": True, "max_thoughts": 7, "tools": Tools((WEATHER,), ToolChoice("required"))}, 7),
        ({"thinks": True, "effort": "low"}, 1024),
        ({"thinks": True, "effort": "low", "max_thoughts": 7}, 7),
        ({"thinks": True, "effort": "high"}, None),
        ({"thinks": False, "max_thoughts": 7}, None),
    ],
)
def test_thoughts_are_limited_by_grammar(fields: dict[str, Any], limit: int | None, tokenizer: Any) -> None:
    constraint = format_of(tokenizer).answer(chat(**fields), [0]).constraint
    text = constraint.text if constraint is not None else ""
    assert ("max_tokens" in text) == (limit is not None)
    assert limit is None or f"[max_tokens={limit}]" in text


def test_a_template_that_knows_efforts_limits_the_thoughts_itself(tokenizer: Any) -> None:
    template = tokenizer.chat_template + "{% if reasoning_effort is defined %}{% endif %}"
    assert format_of(tokenizer, template=template).answer(chat(thinks=True, effort="low"), [0]).constraint is None


def test_an_effort_limits_nothing_where_the_answer_may_not_end(tokenizer: Any) -> None:
    request = replace(chat(thinks=True, effort="low"), sampling=Sampling(ignore_eos=True))
    assert format_of(tokenizer).answer(request, [0]).constraint is None


def test_thoughts_whose_tags_are_no_tokens_cannot_be_limited(tokenizer: Any) -> None:
    found = format_of(tokenizer, thoughts="mistral")
    found.check(chat(thinks=True, max_thoughts=7))
    with pytest.raises(TwowireError) as caught:
        found.check(chat(thinks=True, max_thoughts=7, must_limit_thoughts=True))
    assert (caught.value.fault, caught.value.param) == (Fault.UNSUPPORTED_FIELD, "thinking_token_budget")
    format_of(tokenizer, thoughts="none").check(chat(max_thoughts=7, must_limit_thoughts=True))


def test_an_empty_schema_allows_any_json(tokenizer: Any) -> None:
    constraint = format_of(tokenizer).answer(chat(constraint=JsonOutput({})), [0]).constraint
    assert constraint is not None
    assert "object" not in constraint.text


def test_a_form_without_thoughts_is_left_as_it_is(tokenizer: Any) -> None:
    form = format_of(tokenizer)
    answer = form.answer(chat(constraint=TextOutput("regex", "[0-9]+"), thinks=False), [1])
    assert answer.parsing is None
    assert answer.constraint is not None
    assert (answer.constraint.kind, answer.constraint.text) == ("regex", "[0-9]+")
    assert form.text_constraint(TextOutput("regex", "[0-9]+")) == answer.constraint
    tags = '{"triggers": ["<n>"], "structures": [{"begin": "<n>", "schema": {}, "end": "</n>"}]}'
    plain = form.text_constraint(TextOutput("structural_tag", tags))
    assert plain is not None
    assert plain.kind == "grammar"


def test_a_form_stands_behind_thoughts_but_a_grammar_does_not(tokenizer: Any) -> None:
    form = format_of(tokenizer)
    answer = form.answer(chat(constraint=TextOutput("choice", '["yes", "no"]'), thinks=True), [1])
    assert answer.constraint is not None
    assert 'answer: "yes" | "no"' in answer.constraint.text
    assert "thoughts" in answer.constraint.text
    with pytest.raises(TwowireError, match="cannot be combined with thinking"):
        form.answer(chat(constraint=TextOutput("grammar", 'start: "a"'), thinks=True), [1])
