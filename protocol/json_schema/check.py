"""Checks a client's JSON schema, and rewrites it as what answers can be made to follow."""

from __future__ import annotations

from typing import Any

import orjson

from protocol.json_schema import bounds
from protocol.json_schema.bounds import wrong
from protocol.json_schema.rewrite import Rewriter
from protocol.validation.request import is_nested_deeper


def check_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The part of JSON Schema that answers follow, and that says all of `schema`.

    What satisfies the result satisfies `schema`. Annotations are gone, definitions have other names. For a pydantic
    validator: raises `protocol.validation.request.refusal` with INVALID_SCHEMA for a schema that cannot be followed, or
    is larger than `protocol.json_schema.bounds` allow; it names the keyword and where it stands.
    """
    if is_nested_deeper(schema, bounds.MAX_DEPTH):
        raise wrong(f"must be nested at most {bounds.MAX_DEPTH} levels deep", "#")
    try:
        size = len(orjson.dumps(schema))
    except orjson.JSONEncodeError:
        raise wrong("must be plain JSON", "#") from None
    if size > bounds.MAX_BYTES:
        raise wrong(f"must have at most {bounds.MAX_BYTES} bytes, got {size}", "#")
    return Rewriter(schema).rewritten()
