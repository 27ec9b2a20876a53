"""`response_format`, and the bounds on a JSON schema that keep compiling it cheap.

Does not know what an engine makes of a schema: a keyword it cannot honour is for the engine to refuse.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, Field, model_validator

from protocol.errors import Fault
from protocol.patterns import nested_repeats
from protocol.request import NO_NUL, RequestPart, is_nested_deeper, quoted, refusal, shown

MAX_SCHEMA_BYTES = 64 * 1024
MAX_SCHEMA_DEPTH = 32
MAX_PATTERN_CHARS = 512
MAX_NESTED_REPEATS = 2000
"""`((a{0,30}){0,30}){0,30}` is 27,000, and keeps a core of vLLM 0.32's engine busy for twelve seconds."""
MAX_SCHEMA_MEMBERS = 5000
"""Properties and enum values together, in the whole schema."""

# JSON Schema 2020-12, Core 10 and 11: under these keys stand schemas by names of the client's own, ...
_NAMED_SCHEMAS = {"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"}
# ... and under these plain values, in which nothing is a keyword.
_PLAIN_VALUES = {"enum", "const", "default", "examples", "example", "required"}
_TYPE_NAMES = {"string", "number", "integer", "boolean", "array", "object", "null"}


def _subschemas(root: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every object in `root` that stands where a schema does."""
    waiting: list[Any] = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, dict):
            yield node
            for key, value in node.items():
                if key in _NAMED_SCHEMAS and isinstance(value, dict):
                    waiting.extend(value.values())
                elif key not in _PLAIN_VALUES:
                    waiting.append(value)


def _wrong(predicate: str) -> Exception:
    return refusal(Fault.INVALID_SCHEMA, predicate)


def _check_keywords(node: dict[str, Any]) -> None:
    kind = node.get("type")
    for name in kind if isinstance(kind, list) else [] if kind is None else [kind]:
        if not isinstance(name, str) or name not in _TYPE_NAMES:
            given = quoted(name) if isinstance(name, str) else shown(name)
            raise _wrong(f"has a type that is not one of JSON Schema's: {given}.")
    patterns = [node["pattern"]] if "pattern" in node else []
    named = node.get("patternProperties")
    patterns += named if isinstance(named, dict) else []
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise _wrong(f"has a pattern that must be a string, got {shown(pattern)}.")
        if len(pattern) > MAX_PATTERN_CHARS:
            raise _wrong(f"has a pattern that must have at most {MAX_PATTERN_CHARS} characters, got {len(pattern)}.")
        if (repeats := nested_repeats(pattern)) > MAX_NESTED_REPEATS:
            limit = f"at most {MAX_NESTED_REPEATS}, got {repeats}"
            raise _wrong(f"has a pattern whose nested repeats must multiply to {limit}.")
    for key, wanted, words in (("properties", dict, "an object"), ("enum", list, "a list")):
        if key in node and not isinstance(node[key], wanted):
            raise _wrong(f"has {key} that must be {words}, got {shown(node[key])}.")


def check_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema` itself, once it is known to be small enough to compile.

    Bounds: 32 levels, 64 KiB of JSON, 512 characters a pattern and nested repeats that multiply to 2000, 5000
    properties and enum values.
    `$ref` may recurse. For a pydantic validator: raises `protocol.request.refusal` with INVALID_SCHEMA.
    """
    if is_nested_deeper(schema, MAX_SCHEMA_DEPTH):
        raise _wrong(f"must be nested at most {MAX_SCHEMA_DEPTH} levels deep.")
    try:
        size = len(orjson.dumps(schema))
    except orjson.JSONEncodeError:
        raise _wrong("must be plain JSON.") from None
    if size > MAX_SCHEMA_BYTES:
        raise _wrong(f"must have at most {MAX_SCHEMA_BYTES} bytes, got {size}.")
    members = 0
    for node in _subschemas(schema):
        _check_keywords(node)
        members += len(node.get("properties", ())) + len(node.get("enum", ()))
    if members > MAX_SCHEMA_MEMBERS:
        raise _wrong(f"must have at most {MAX_SCHEMA_MEMBERS} properties and enum values, got {members}.")
    return schema


class JsonSchemaFormat(RequestPart):
    """The schema an answer must satisfy. Without `schema`, any JSON object does."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_-]+$", description="A name for the schema.")
    description: Annotated[str, NO_NUL] | None = Field(default=None, description="What the answer is for.")
    # `schema` itself is taken: pydantic's models have a method of that name.
    definition: Annotated[dict[str, Any], AfterValidator(check_schema)] | None = Field(
        default=None, alias="schema", description="The JSON schema, an object."
    )
    strict: bool | None = Field(default=None, description="Accepted; the schema is always followed.")


class ResponseFormat(RequestPart):
    """The form an answer must take: any text, any JSON object, or JSON that satisfies a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None

    @model_validator(mode="after")
    def _needs_its_schema(self) -> ResponseFormat:
        if self.type == "json_schema" and self.json_schema is None:
            predicate = "is required when response_format.type is 'json_schema'."
            raise refusal(Fault.MISSING_FIELD, predicate, ("json_schema",))
        return self
