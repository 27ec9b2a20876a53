"""Objects: their properties, how many there are, and what others may stand beside those that are named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from protocol.json_schema import bounds
from protocol.json_schema.bounds import Sums, wrong
from protocol.json_schema.keywords import FORMATS
from protocol.json_schema.patterns import KEY_FORMATS, checked_pattern, other_than
from protocol.json_schema.places import COMBINED, Place
from protocol.json_schema.references import resolve
from protocol.json_schema.values import a_list, an_object, constant, count, strings

KEYWORDS = (
    "properties",
    "required",
    "additionalProperties",
    "patternProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
    "unevaluatedProperties",
)

Subschema = Callable[[Any, Place], Any]
"""Rewrites a subschema."""


def rewritten_object(
    node: dict[str, Any], place: Place, root: Mapping[str, Any], sums: Sums, subschema: Subschema
) -> dict[str, Any]:
    """The keywords of objects in `node`, as the grammar engine is to have them.

    An object is closed unless it says that it is open: where `properties` are named and `additionalProperties` are
    not, there are no others. That allows less than the schema does, and keeps a model from inventing properties.
    """
    node = _with_named_keys(node, place, root)
    required = strings("required", node.get("required", []), place.at)
    required += [name for name in place.required if name not in required]
    named, patterns = _named_and_patterns(node, place)
    sums.add("properties and enum values", len(named) + len(patterns) + len(required), place.at)
    out: dict[str, Any] = {}
    properties = {name: subschema(value, place.child("properties", name)) for name, value in named.items()}
    pattern_schemas = {
        checked_pattern(pattern, place.at, sums): subschema(value, place.child("patternProperties", pattern))
        for pattern, value in patterns.items()
    }
    others = node.get("additionalProperties", node.get("unevaluatedProperties"))
    if "additionalProperties" not in node and others not in (None, True) and place.is_combined:
        raise wrong("has unevaluatedProperties, which cannot be followed beside allOf, anyOf, oneOf or $ref", place.at)
    if others is not None:
        others = subschema(others, place.child("additionalProperties"))
    names = place.group.names if place.group else frozenset(named) | frozenset(required)
    if others is None and named and not patterns and (place.group or not place.is_combined):
        sums.add(COMBINED, len(names) if place.group else 0, place.at)
        properties |= {name: True for name in _in_order(names, required) if name not in properties}
        others = False
    elif others is None and patterns and not place.is_combined:
        others = False
    elif others not in (None, False) and names and (place.group or not place.is_combined):
        if patterns:
            raise wrong("has additionalProperties that must be false beside patternProperties", place.at)
        # llguidance compares the names of other properties as they are written: it would take "\\u0061" for another
        # name than "a". Names that match a pattern are not written so.
        sums.add(COMBINED, len(names) if place.group else 0, place.at)
        sums.add("characters of names that additionalProperties excludes", sum(map(len, names)), place.at)
        properties |= {name: others for name in _in_order(names, required) if name not in properties}
        pattern_schemas = {other_than(names, place.at): others}
        others = False
    if properties or "properties" in node:
        out["properties"] = properties
    if pattern_schemas:
        out["patternProperties"] = pattern_schemas
    if others is not None:
        out["additionalProperties"] = others
    if required:
        out["required"] = required
    return out | _counts(node, out, place)


def _named_and_patterns(node: dict[str, Any], place: Place) -> tuple[dict[str, Any], dict[str, Any]]:
    """`properties` and `patternProperties`, within their limits."""
    named = an_object("properties", node.get("properties", {}), place.at)
    patterns = an_object("patternProperties", node.get("patternProperties", {}), place.at)
    if len(named) > bounds.MAX_OBJECT_PROPERTIES:
        limit = f"at most {bounds.MAX_OBJECT_PROPERTIES}, got {len(named)}"
        raise wrong(f"has properties of which there must be {limit} in one object", place.at)
    if len(patterns) > bounds.MAX_PATTERN_PROPERTIES:
        limit = f"at most {bounds.MAX_PATTERN_PROPERTIES}, got {len(patterns)}"
        raise wrong(f"has patternProperties of which there must be {limit}", place.at)
    for name in (*named, *patterns):
        constant("properties", name, place.at)
    return named, patterns


def _in_order(names: frozenset[str], required: list[str]) -> list[str]:
    return [*required, *sorted(names - set(required))] if names >= set(required) else sorted(names)


def _counts(node: dict[str, Any], out: dict[str, Any], place: Place) -> dict[str, int]:
    """`minProperties` and `maxProperties`, where they still say something and can be followed."""
    least = count("minProperties", node.get("minProperties", 0), place.at)
    most = count("maxProperties", node["maxProperties"], place.at) if "maxProperties" in node else None
    required = len(out.get("required", ()))
    optional = [name for name in out.get("properties", {}) if name not in out.get("required", ())]
    is_closed = out.get("additionalProperties") is False and "patternProperties" not in out
    found = {}
    if least > required:
        found["minProperties"] = least
    if most is not None and not (is_closed and most >= required + len(optional)):
        found["maxProperties"] = most
    if not found:
        return {}
    keyword = next(iter(found))
    if place.is_combined:
        raise wrong(f"has {keyword}, which cannot be followed beside allOf, anyOf, oneOf or $ref", place.at)
    if least > required + 1:
        limit = f"at most {required + 1}, one more than there are required properties, got {least}"
        raise wrong(f"has minProperties that must be {limit}", place.at)
    if optional and not (is_closed and most in (None, required + 1)):
        raise wrong(f"has {keyword}, which cannot be followed where named properties are optional", place.at)
    return found


def _with_named_keys(node: dict[str, Any], place: Place, root: Mapping[str, Any]) -> dict[str, Any]:
    """`node` with `propertyNames` said by `properties` or `patternProperties`."""
    if "propertyNames" not in node:
        return node
    names, at = node["propertyNames"], place.at
    for _ in range(10):
        if isinstance(names, dict) and "$ref" in names:
            at, names = resolve(root, names["$ref"], at)
    rest = {key: value for key, value in node.items() if key != "propertyNames"}
    said = {}
    if names is not True:
        ignored = ("title", "description", "$comment")
        said = {key: value for key, value in an_object("propertyNames", names, at).items() if key not in ignored}
    if said.get("type") == "string":
        del said["type"]
    if isinstance(said.get("format"), str) and said["format"] not in FORMATS:
        del said["format"]
    if not said:
        return rest
    value = node.get("additionalProperties", True)
    is_alone = not place.is_combined and "properties" not in node and "patternProperties" not in node
    if is_alone and set(said) in ({"enum"}, {"const"}):
        keys = a_list("enum", said.get("enum", [said.get("const")]), at)
        return rest | {"properties": dict.fromkeys(strings("enum", keys, at), value), "additionalProperties": False}
    if is_alone and said.keys() == {"pattern"} and isinstance(said["pattern"], str):
        return rest | {"patternProperties": {said["pattern"]: value}, "additionalProperties": False}
    if is_alone and said.keys() == {"format"} and (pattern := KEY_FORMATS.get(str(said["format"]))):
        return rest | {"patternProperties": {pattern: value}, "additionalProperties": False}
    if is_alone and said.keys() <= {"minLength", "maxLength"}:
        bound = [str(count(key, said[key], at)) if key in said else "" for key in ("minLength", "maxLength")]
        by_length = f"^[\\s\\S]{{{bound[0] or 0},{bound[1]}}}$"
        return rest | {"patternProperties": {by_length: value}, "additionalProperties": False}
    raise wrong(
        "has propertyNames, which can only be followed alone, as an enum, a pattern, a length, a date or a uuid",
        place.at,
    )
