"""The grammar engine follows each keyword that the documentation says answers follow.

Answers are sampled with random tokens, so that only the grammar decides; no vLLM and no model takes part.
"""

from __future__ import annotations

import json

import llguidance
import pytest

from engine.grammar.backends import guidance_source
from engine.grammar.constraint import json_constraint
from protocol.json_schema import check_schema
from protocol.json_schema.keywords import FOLLOWED, FORMATS
from tests.engine.grammar.keyword_cases import CASES, Case
from tests.grammars import Grammar, is_valid, tokenizer

SEEDS = range(12)


def test_every_keyword_that_is_followed_has_a_case() -> None:
    assert {case.keyword for case in CASES} == FOLLOWED
    assert all(case.keyword in json.dumps(case.schema) for case in CASES)
    assert {case.schema.get("format") for case in CASES} >= FORMATS


@pytest.mark.parametrize("case", CASES, ids=[f"{case.keyword}-{number}" for number, case in enumerate(CASES)])
def test_a_keyword_is_followed(case: Case) -> None:
    grammar = Grammar(check_schema(case.schema))
    for answer in case.right:
        assert grammar.accepts(answer), answer
    for answer in case.wrong:
        assert not grammar.accepts(answer), answer


def _jsonschema_reads_it_alike(case: Case) -> bool:
    """It has `items` as a list and `exclusiveMinimum` as a boolean for mistakes, and Python's dialect of patterns."""
    pattern = str(case.schema.get("pattern"))
    is_of_2020 = case.keyword != "additionalItems" and case.schema.get("exclusiveMinimum") is not True
    return is_of_2020 and "(?<" not in pattern and "[[" not in pattern


@pytest.mark.parametrize(
    "case", [case for case in CASES if _jsonschema_reads_it_alike(case)], ids=lambda case: case.keyword
)
def test_whatever_is_sampled_satisfies_the_schema(case: Case) -> None:
    schema = check_schema(case.schema)
    ended = 0
    for seed in SEEDS:
        answer = Grammar(schema).sample(seed)
        if answer is not None:
            assert is_valid(case.schema, json.loads(answer)), answer
            ended += 1
    assert ended or case.keyword in ("format", "pattern"), "only an expression may ask for a letter that seldom comes"


def test_one_space_follows_each_comma_and_colon() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "integer"}}}, "required": ["a"]}
    matcher = llguidance.LLMatcher(
        tokenizer(), guidance_source("json", json_constraint(schema).text, any_whitespace=False)
    )

    def is_answer(text: str) -> bool:
        copy = matcher.deep_copy()
        return all(map(copy.consume_token, tokenizer().tokenize_str(text))) and copy.is_accepting()

    assert is_answer('{"a": [1, 2]}')
    for other in ('{"a":[1,2]}', '{"a":  [1, 2]}', '{ "a": [1, 2]}', '{"a": [1 , 2]}', '{"a": [1, 2] }'):
        assert not is_answer(other), other
