"""The format of calls and thoughts that is found for a model, and what its template is given."""

from __future__ import annotations

from typing import Any

import pytest

from engine.api import EngineStartError
from protocol.errors import Fault, TwowireError
from protocol.generation import ChatPrompt, Tools
from tests.engine.vllm.formats.answer_formats import NO_ARGUMENTS, NOW, SCHEMA, WEATHER, chat, format_of


def test_the_guides_format_is_found(tokenizer: Any) -> None:
    found = format_of(tokenizer)
    assert (found.calls, found.thoughts, found.switch) == ("hermes", "qwen3", "enable_thinking")
    assert not found.thinks_by_default


@pytest.mark.parametrize(
    ("template", "calls", "thoughts"),
    [
        ("{{ '<tool_call>\\n<function=' }}", "qwen3_coder", None),
        ("{{ '<arg_key>' }}<think>", "glm45", "qwen3"),
        ("<|tool_calls_section_begin|>", "kimi_k2", None),
        ("<｜DSML｜function_calls></think>", "deepseek_v32", "qwen3"),
        ("<seed:think><seed:tool_call>", "seed_oss", "seed_oss"),
        ("{{ messages }}", None, None),
    ],
)
def test_signs_in_a_template_name_the_format(
    template: str, calls: str | None, thoughts: str | None, tokenizer: Any
) -> None:
    found = format_of(tokenizer, template=template)
    assert (found.calls, found.thoughts) == (calls, thoughts)


def test_none_leaves_everything_as_text(tokenizer: Any) -> None:
    found = format_of(tokenizer, "none", "none")
    assert (found.calls, found.thoughts, found.switch) == (None, None, None)
    with pytest.raises(TwowireError) as caught:
        found.check(chat(Tools((WEATHER,))))
    assert (caught.value.fault, caught.value.param) == (Fault.UNSUPPORTED_FIELD, "tools")
    assert "--tool-call-parser" in caught.value.message


@pytest.mark.parametrize(
    ("calls", "thoughts", "named"),
    [
        ("jamba", "none", "--tool-call-parser jamba"),
        ("cohere_command3", "none", "cohere_melody"),
        ("no_such", "none", "no_such"),
        ("hermes", "no_such", "--reasoning-parser no_such"),
    ],
)
def test_a_name_that_cannot_be_used_stops_the_start(calls: str, thoughts: str, named: str, tokenizer: Any) -> None:
    with pytest.raises(EngineStartError, match=named):
        format_of(tokenizer, calls, thoughts)


def test_gpt_oss_is_refused_unless_its_channels_are_wanted(tokenizer: Any) -> None:
    template = "<|start|>assistant<|channel|>final<|message|>"
    for names in (("auto", "none"), ("none", "auto"), ("openai", "none")):
        with pytest.raises(EngineStartError, match="Harmony"):
            format_of(tokenizer, *names, template=template)
    assert format_of(tokenizer, "none", "none", template=template).calls is None


def test_only_the_prompts_end_says_that_the_model_thinks(tokenizer: Any) -> None:
    found = format_of(tokenizer)

    def thinks(text: str) -> bool:
        return found.answer(chat(), tokenizer.encode(text)).parsing is not None

    assert thinks("user: hi\n<think>\n")
    assert not thinks("a <think> that a user typed </think> " + "and much more text. " * 20)
    assert not thinks("<think>\n\n</think>\n\n")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"enable_thinking": False}),
        ({"thinks": True}, {"enable_thinking": True}),
        ({"thinks": True, "effort": "high"}, {"enable_thinking": True, "reasoning_effort": "high"}),
    ],
)
def test_the_template_is_told_whether_to_think(fields: Any, expected: Any, tokenizer: Any) -> None:
    assert format_of(tokenizer).template_kwargs(chat(**fields)) == expected


def test_the_template_is_given_the_tools(tokenizer: Any) -> None:
    kwargs = format_of(tokenizer).template_kwargs(chat(Tools((WEATHER, NOW))))
    assert kwargs["tools"] == [
        {"type": "function", "function": {"name": "weather", "description": "Of a city.", "parameters": SCHEMA}},
        {"type": "function", "function": {"name": "now", "parameters": NO_ARGUMENTS}},
    ]


def test_a_developer_is_the_system_to_a_template_that_does_not_know_developers(tokenizer: Any) -> None:
    prompt = ChatPrompt([{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi."}])
    assert format_of(tokenizer).messages(prompt) is prompt.messages
    without = format_of(tokenizer, template="{{ messages }}").messages(prompt)
    assert without == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi."}]
    plain = ChatPrompt([{"role": "user", "content": "Hi."}])
    assert format_of(tokenizer, template="{{ messages }}").messages(plain) is plain.messages
