"""What is just within the bounds of a schema compiles soon, and so does what was made to be slow."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import pytest

from protocol.json_schema import bounds, check_schema
from tests.grammars import Grammar, GrammarRefusedError

CPU_LIMIT_S = 2.0
"""Ten times what the slowest takes alone."""
INTEGER = {"type": "integer"}


def objects(count: int, value: Callable[[int], Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {f"p{i}": value(i) for i in range(count)}}


def union(name: str, count: int) -> dict[str, Any]:
    return {"anyOf": [{"type": "object", "properties": {f"{name}{i}": INTEGER}} for i in range(count)]}


def doubling(depth: int) -> dict[str, Any]:
    """Two chains of definitions that an `allOf` would multiply out: 2^depth properties."""
    definitions: dict[str, Any] = {"a": INTEGER, "b": INTEGER}
    for n in range(depth):
        for chain in "ab":
            follower = {"$ref": f"#/$defs/{chain}{n - 1}" if n else f"#/$defs/{chain}"}
            definitions[f"{chain}{n}"] = {"type": "object", "properties": {"p": follower, "q": follower}}
    last = depth - 1
    return {"allOf": [{"$ref": f"#/$defs/a{last}"}, {"$ref": f"#/$defs/b{last}"}], "$defs": definitions}


SLOW: dict[str, dict[str, Any]] = {
    "an object": objects(bounds.MAX_OBJECT_PROPERTIES, lambda _: INTEGER),
    "ten objects": {"prefixItems": [objects(480, lambda _: True) for _ in range(10)]},
    "items": {"prefixItems": [{"maxItems": 1000, "items": {"const": i}} for i in range(5)]},
    "items of many": objects(50, lambda i: {"type": "array", "maxItems": 100, "items": {"const": i}}),
    "an enum": {"enum": [f"value {i}" for i in range(4900)]},
    "constants": {"enum": [chr(97 + i % 26) * 990 + str(i) for i in range(64)]},
    "formats": objects(400, lambda i: {"type": "string", "format": "uri", "maxLength": 500 + i}),
    "dates": objects(400, lambda _: {"type": "string", "format": "date-time"}),
    "lengths": objects(400, lambda i: {"type": "string", "minLength": 100 + i, "maxLength": 100_000 - i}),
    "multiples": objects(3, lambda i: {"type": "integer", "multipleOf": 9999 - i}),
    "patterns": objects(16, lambda i: {"type": "string", "pattern": rf"^\p{{L}}{{0,{1000 + i}}}\d$"}),
    "patterns combined": {"allOf": [{"type": "string", "pattern": f"a.{{{i}}}b"} for i in range(16)]},
    "patterns of names": {"patternProperties": {f"^a{i}b": INTEGER for i in range(bounds.MAX_PATTERN_PROPERTIES)}},
    "other names": {"properties": {f"{i:020}": INTEGER for i in range(100)}, "additionalProperties": INTEGER},
    "unions combined": {"allOf": [union("a", 100), union("b", 100)]},
    "unions of constants": {
        "allOf": [{"$ref": "#/$defs/u"}] * 3,
        "$defs": {"u": {"anyOf": [{"const": i} for i in range(200)]}},
    },
    "branches": {"anyOf": [objects(12, lambda i: {"const": i}) for _ in range(200)]},
    "nested": doubling(14),
}


@pytest.mark.parametrize("schema", SLOW.values(), ids=SLOW.keys())
def test_a_schema_within_the_bounds_is_compiled_or_given_up_soon(schema: dict[str, Any]) -> None:
    began = time.process_time()
    rewritten = check_schema(schema)
    with contextlib.suppress(GrammarRefusedError):
        Grammar(rewritten).allowed()
    assert time.process_time() - began < CPU_LIMIT_S


def test_a_subschema_is_read_once() -> None:
    """Twice on each level would be 2^30 times."""
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(15):
        schema = {"items": schema, "maxItems": 2, "minItems": 1, "type": "array"}
    check_schema(schema)
    for _ in range(8):
        schema = {"additionalProperties": schema, "maxProperties": 9, "propertyNames": {"type": "string"}}
    check_schema(schema)
