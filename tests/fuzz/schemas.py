"""JSON schemas of all kinds, for hypothesis: most of them plausible, some of them hostile."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from protocol.json_schema.keywords import ANNOTATIONS, FOLLOWED, REFUSED

Schema = dict[str, Any] | bool

_NAMES = st.sampled_from(["a", "b", "c", "name", "ab", "", 'q"uote', "ü\n", "a/b", "kind"])
_TYPES = ["null", "boolean", "integer", "number", "string", "array", "object"]
_PATTERNS = ["^a+$", "b", "^[a-z]{2,4}$", "^x|y$", r"^\d{3}-\w+$", "^.{0,3}$", "[^a]", r"^\p{L}*$", "^(?:ab?){1,3}$"]
_HARD_PATTERNS = [
    "(",
    "(?=a)b",
    r"(a)\1",
    r"\ba",
    "((a{0,30}){0,30}){0,30}",
    "a{2001}",
    "(.*a){20}",
    "a.{300}$",
    "[[a&&b]",
]
_FORMATS = ["date", "date-time", "time", "email", "hostname", "ipv4", "ipv6", "uri", "uuid", "password", "regex", "x"]
_HUGE: list[Any] = [2**31, 2**53 + 1, 2**62, 1e300, -1e300, 1e-300, -1, 1.5, True, None, "5", [], {}]
_UNKNOWN = ["x-order", "x-guidance", "widget", "maxlength", "min_items", "$anchor", "id", "nullable", "strict"]

_CONSTANTS = st.recursive(
    st.none() | st.booleans() | st.integers(-100, 100) | st.sampled_from([0.5, -2.25, 1e3]) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_NAMES, inner, max_size=2),
    max_leaves=4,
)
_REFERENCES = st.sampled_from(
    ["#", "#/$defs/a", "#/$defs/b", "#/$defs/c", "#/properties/a", "#/items", "#/nowhere", "#x"]
)


def _some(keywords: dict[str, st.SearchStrategy[Any]], most: int = 4) -> st.SearchStrategy[dict[str, Any]]:
    """An object with a few of `keywords`, in any order."""

    def chosen(names: list[str]) -> st.SearchStrategy[dict[str, Any]]:
        return st.fixed_dictionaries({name: keywords[name] for name in names})

    return st.lists(st.sampled_from(sorted(keywords)), unique=True, max_size=most).flatmap(chosen)


def _leaves() -> st.SearchStrategy[Any]:
    small = st.integers(0, 6)
    number = st.integers(-50, 50) | st.sampled_from([0.5, -1.25, 9.75])
    text = {
        "minLength": small,
        "maxLength": small,
        "pattern": st.sampled_from(_PATTERNS),
        "format": st.sampled_from(_FORMATS),
    }
    numbers = {
        "minimum": number,
        "maximum": number,
        "exclusiveMinimum": number,
        "exclusiveMaximum": number,
        "multipleOf": st.sampled_from([1, 2, 3, 10, 0.5, 0.01, 0.07]),
    }
    types = st.sampled_from(_TYPES) | st.lists(st.sampled_from(_TYPES), min_size=1, max_size=3, unique=True)
    anything = text | numbers | {"type": types, "title": st.just("t"), "default": _CONSTANTS}
    return st.one_of(
        st.booleans(),
        st.builds(lambda kind: {"type": kind}, types),
        st.builds(lambda values: {"enum": values}, st.lists(_CONSTANTS, min_size=1, max_size=4)),
        st.builds(lambda value: {"const": value}, _CONSTANTS),
        st.builds(lambda more: {"type": "string"} | more, _some(text, 2)),
        st.builds(lambda more: {"type": "integer"} | more, _some(numbers, 2)),
        st.builds(lambda more: {"type": "number"} | more, _some(numbers, 2)),
        st.builds(lambda reference: {"$ref": reference}, _REFERENCES),
        _some(anything),
        st.builds(
            lambda name, value: {name: value}, st.sampled_from([*numbers, *text, "minItems"]), st.sampled_from(_HUGE)
        ),
        st.builds(lambda pattern: {"type": "string", "pattern": pattern}, st.sampled_from(_HARD_PATTERNS)),
        st.builds(lambda name: {"type": "string", name: 5}, st.sampled_from(_UNKNOWN)),
    )


def _compound(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    small = st.integers(0, 4)
    named = st.dictionaries(_NAMES, inner, max_size=3)
    branches = st.lists(inner, min_size=1, max_size=3)
    objects = {
        "properties": named,
        "required": st.lists(_NAMES, max_size=3),
        "additionalProperties": inner,
        "patternProperties": st.dictionaries(st.sampled_from(_PATTERNS), inner, max_size=2),
        "propertyNames": inner,
        "minProperties": small,
        "maxProperties": small,
        "unevaluatedProperties": inner,
        "discriminator": st.just({"propertyName": "kind"}),
    }
    arrays = {
        "items": inner,
        "prefixItems": branches,
        "minItems": small,
        "maxItems": small,
        "unevaluatedItems": inner,
        "uniqueItems": st.booleans(),
    }
    places = {"allOf": branches, "anyOf": branches, "oneOf": branches, "$ref": _REFERENCES, "not": inner}
    rare = {"contains": inner, "if": inner, "then": inner, "dependentRequired": st.just({"a": ["b"]})}
    return st.one_of(
        st.builds(lambda more: {"type": "object"} | more, _some(objects)),
        st.builds(lambda named, more: {"type": "object", "properties": named} | more, named, _some(objects, 2)),
        st.builds(lambda more: {"type": "array"} | more, _some(arrays, 3)),
        _some(places, 2),
        _some(objects | places, 3),
        _some(objects | arrays | places | rare, 4),
    )


def schemas(max_leaves: int = 8) -> st.SearchStrategy[dict[str, Any]]:
    """Whole schemas, with definitions that they may refer to."""
    any_schema = st.recursive(_leaves(), _compound, max_leaves=max_leaves)
    definitions = st.dictionaries(st.sampled_from(["a", "b", "c"]), any_schema, max_size=3)

    def whole(root: Schema, definitions: dict[str, Schema]) -> dict[str, Any]:
        schema = root if isinstance(root, dict) else {"properties": {"a": root}}
        return schema | ({"$defs": definitions} if definitions else {})

    return st.builds(whole, any_schema, definitions)


def wild() -> st.SearchStrategy[dict[str, Any]]:
    """Keywords with values of any kind, right or wrong."""
    keywords = (
        st.sampled_from(sorted(FOLLOWED | REFUSED | ANNOTATIONS)) | st.sampled_from(_UNKNOWN) | st.text(max_size=8)
    )
    scalars = st.none() | st.booleans() | st.integers(-5, 2**63) | st.floats(allow_nan=False, allow_infinity=False)
    words = _REFERENCES | st.sampled_from([*_TYPES, *_FORMATS, *_PATTERNS, *_HARD_PATTERNS]) | st.text(max_size=4)
    values = st.recursive(
        scalars | words,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keywords | _NAMES, inner, max_size=4),
        max_leaves=12,
    )
    return st.dictionaries(keywords, values, min_size=1, max_size=5)
