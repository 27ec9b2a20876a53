"""Thoughts of a limited length, by grammar: counted in tokens, and ended where the limit is reached."""

from __future__ import annotations

import json

import llguidance
import numpy as np
import pytest

from engine.parsing.formats import CALL_FORMATS
from engine.parsing.grammar import GrammarWriter, can_limit
from engine.parsing.tagged import Tags
from protocol.generation import Tool, ToolChoice, Tools
from tests.engine.parsing.accepting import accepts, guide_with

LIMIT = 5
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
CALL = '<tool_call>\n{"name": "f", "arguments": {"n": 1}}\n</tool_call>'
ANSWERS = {"text": f"Hello. {CALL} <b>", "calls": CALL, "calls_or_text": "Hello. " + CALL, "json": '{"n": 1}'}
"""An answer that each kind of grammar lets through."""


def grammar(kind: str = "text", *, is_thinking: bool = True, limit: int = LIMIT) -> str:
    made = GrammarWriter(
        *(Tags(), guide_with(())[2]),
        thinks=True,
        is_thinking=is_thinking,
        max_thoughts=limit,
        shape=CALL_FORMATS["hermes"].shape,
    )
    tools = Tools((Tool("f", None, SCHEMA, SCHEMA),), ToolChoice("required"))
    return str(getattr(made, kind)(*{"text": (), "json": (SCHEMA,)}.get(kind, (tools,))))


def thoughts(tokens: int) -> str:
    """So many tokens of the guide's."""
    text = " the" * tokens
    assert len(guide_with(())[0].encode(text, add_special_tokens=False).ids) == tokens
    return text


@pytest.mark.parametrize("is_thinking", [True, False], ids=["prompt opens", "model opens"])
@pytest.mark.parametrize("kind", ANSWERS)
def test_thoughts_within_the_limit_get_through(kind: str, is_thinking: bool) -> None:
    made, opened = grammar(kind, is_thinking=is_thinking), "" if is_thinking else "<think>"
    for tokens in range(LIMIT + 1):
        assert accepts(made, opened + thoughts(tokens) + "</think>" + ANSWERS[kind]), tokens
    assert not accepts(made, opened + thoughts(LIMIT + 1) + "</think>" + ANSWERS[kind])


@pytest.mark.parametrize(("limit", "text"), [(0, ""), (3, " the the the"), (3, " the the 🌍")])
def test_nothing_but_the_end_of_the_thoughts_follows_the_limit(limit: int, text: str) -> None:
    # The last text is cut within a character.
    guide, tokenizer, ids = guide_with(())
    matcher = llguidance.LLMatcher(tokenizer, llguidance.grammar_from("grammar", grammar(limit=limit)), log_level=0)
    for token in guide.encode(text, add_special_tokens=False).ids[:limit]:
        assert matcher.consume_token(token)
    bits = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8), bitorder="little")
    assert np.flatnonzero(bits).tolist() == [ids["</think>"]]


def test_an_answer_does_not_think_again() -> None:
    again = f"<think>{thoughts(1)}</think>Hello <think>{thoughts(1)}</think>"
    assert not accepts(grammar(is_thinking=False), again)
    assert accepts(grammar(is_thinking=False), "Hello"), "it need not think"


def test_tags_that_are_no_tokens_set_no_limit() -> None:
    assert can_limit(Tags(), guide_with(())[2])
    assert not can_limit(Tags(("[THINK]", "[/THINK]")), guide_with(())[2])


def test_long_limits_cost_nothing_to_compile() -> None:
    assert len(json.dumps(grammar(limit=2**31 - 1))) < 500
    assert accepts(grammar(limit=2**31 - 1), thoughts(50) + "</think>Hi")
