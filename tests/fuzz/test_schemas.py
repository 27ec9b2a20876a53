"""Whatever schema comes: it is refused in words, or followed within the time."""

from __future__ import annotations

import json
import time
from typing import Any

from hypothesis import HealthCheck, given, settings
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from pydantic_core import PydanticCustomError

from protocol.json_schema import check_schema
from tests.fuzz.schemas import schemas, wild
from tests.grammars import Grammar, GrammarRefusedError, is_valid

CPU_LIMIT_S = 2


def is_of_2020(schema: dict[str, Any]) -> bool:
    """Whether jsonschema can judge an instance: what older drafts wrote otherwise is followed, too."""
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError:
        return False
    return "\\\\p" not in json.dumps(schema) and "[[" not in json.dumps(schema)


def hold(schema: dict[str, Any], seeds: int = 3) -> str:
    """Check, compile and sample `schema`; what became of it."""
    began = time.process_time()
    try:
        rewritten = check_schema(schema)
    except PydanticCustomError:
        return "refused"
    try:
        grammar = Grammar(rewritten)
        grammar.allowed()
    except GrammarRefusedError:
        return "not compiled"
    finally:
        assert time.process_time() - began < CPU_LIMIT_S
    if not is_of_2020(schema):
        return "followed"
    for seed in range(seeds):
        answer = Grammar(rewritten).sample(seed, 100)
        assert answer is None or is_valid(schema, json.loads(answer)), answer
    return "followed"


@settings(max_examples=150, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(schemas())
def test_a_schema_is_refused_or_followed(schema: dict[str, Any]) -> None:
    hold(schema)


@settings(max_examples=500, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(wild())
def test_no_value_of_a_keyword_is_too_odd(schema: dict[str, Any]) -> None:
    hold(schema, seeds=1)
