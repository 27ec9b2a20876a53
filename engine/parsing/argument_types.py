"""Which JSON a schema wants where a model writes an argument as bare text, as in `<parameter=days>3</parameter>`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

MAX_DEPTH = 8
_JSON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}


def argument_types(schema: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """The types that each property of a tool's schema allows; none where it does not say."""
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return {}
    return {name: frozenset(_types(one, schema, MAX_DEPTH)) for name, one in properties.items()}


def _types(schema: Any, root: Mapping[str, Any], depth: int) -> set[str]:
    if not isinstance(schema, dict) or not depth:
        return set()
    found: set[str] = set()
    types = schema.get("type")
    found.update(one for one in (types if isinstance(types, list) else [types]) if isinstance(one, str))
    values = schema.get("enum", [])
    for value in [*(values if isinstance(values, list) else []), *([schema["const"]] if "const" in schema else [])]:
        found.add("null" if value is None else _JSON_TYPES.get(type(value), "string"))
    for key in ("anyOf", "oneOf", "allOf"):
        for one in schema.get(key) or ():
            found |= _types(one, root, depth - 1)
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/"):
        found |= _types(_referred(reference, root), root, depth - 1)
    return found


def _referred(reference: str, root: Mapping[str, Any]) -> Any:
    found: Any = root
    for step in reference[2:].split("/"):
        found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
    return found


def is_text(types: frozenset[str]) -> bool:
    """Whatever the model writes is a string."""
    return types <= {"string"}


def json_of(text: str, types: frozenset[str]) -> str:
    """The JSON of an argument that the model wrote as `text`: its own, if it is of one of `types`; else a string."""
    bare = text.strip()
    word = bare.lower()
    if "boolean" in types and word in ("true", "false"):
        return word
    if "null" in types and word in ("null", "none"):
        return "null"
    kind = kind_of(bare)
    if kind is not None and (kind in types or (kind == "integer" and "number" in types)):
        return bare
    if kind == "number" and "integer" in types and float(bare).is_integer():
        return str(int(float(bare)))
    if kind is not None and "string" not in types:
        return bare  # Of another type than the schema's, as the model wrote it.
    return json.dumps(text, ensure_ascii=False)


def kind_of(text: str) -> str | None:
    """The JSON type of `text`; None if it is not JSON."""
    try:
        value = json.loads(text, parse_constant=_no_json)
    except (ValueError, RecursionError):
        return None
    return "null" if value is None else _JSON_TYPES[type(value)]


def _no_json(word: str) -> Any:
    raise ValueError(word)
