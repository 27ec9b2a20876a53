"""JSON schemas: what is refused, in which words, and what becomes of the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic_core import PydanticCustomError

from protocol.json_schema import bounds, check_schema, one_of
from protocol.json_schema.keywords import ANNOTATIONS, FOLLOWED, REFUSED


def refused(schema: dict[str, Any]) -> str:
    with pytest.raises(PydanticCustomError) as error:
        check_schema(schema)
    return str(error.value)


TOO_MUCH: dict[str, tuple[dict[str, Any], str]] = {
    "minItems": ({"type": "array", "items": {"type": "integer"}, "minItems": 2**62}, "minItems that must be at most"),
    "maxItems": ({"maxItems": 1001}, "maxItems that must be at most 1000, got 1001"),
    "minLength": ({"minLength": 100_001}, "minLength that must be at most 100000"),
    "maxLength": ({"maxLength": 2**31 - 1}, "maxLength that must be at most 100000"),
    "minProperties": ({"minProperties": 501}, "minProperties that must be at most 500"),
    "maxProperties": ({"maxProperties": 501}, "maxProperties that must be at most 500"),
    "a count below 0": ({"minItems": -1}, "minItems that must be an integer of at least 0"),
    "a count that is a boolean": ({"minItems": True}, "minItems that must be an integer"),
    "sum of items": ({"prefixItems": [{"maxItems": 999, "title": str(i)} for i in range(6)]}, "must sum up to at most"),
    "a constant": ({"const": "a" * 1001}, "const with a string that must have at most 1000 characters, got 1001"),
    "an enum's string": ({"enum": ["a", "b" * 6000]}, "enum with a string that must have at most 1000"),
    "a property's name": ({"properties": {"a" * 1001: {}}}, "at most 1000 characters"),
    "enum values": ({"enum": list(range(5001))}, "at most 5000, got 5001"),
    "no enum values": ({"enum": []}, "enum that must be a list of at least one"),
    "properties": ({"properties": {f"p{i}": {} for i in range(501)}}, "at most 500, got 501 in one object"),
    "subschemas": ({"anyOf": [{"anyOf": [True] * 200} for _ in range(26)]}, "subschemas that must sum up to"),
    "branches": ({"anyOf": [{"const": i} for i in range(201)]}, "anyOf that must have at most 200 branches, got 201"),
    "a pattern": ({"pattern": "a" * 513}, "at most 512 characters, got 513"),
    "all patterns": ({"prefixItems": [{"pattern": "a" * 500} for _ in range(17)]}, "characters of patterns"),
    "nested repeats": ({"pattern": "((a{0,30}){0,30}){0,30}"}, "at most 2000, got 27000"),
    "all repeats": ({"prefixItems": [{"pattern": "a{0,2000}"} for _ in range(11)]}, "repeats in patterns"),
    "minimum": ({"minimum": 1e300}, "minimum that must be within"),
    "maximum": ({"maximum": -(2**60)}, "maximum that must be within"),
    "decimals": ({"minimum": 1e-300}, "minimum that must have at most 15 decimal places"),
    "multipleOf": ({"multipleOf": 10_001}, "multipleOf that must be at most 10000"),
    "a tiny multipleOf": ({"multipleOf": 1e-320}, "multipleOf that must have at most 15 decimal places"),
    "multipleOf 0": ({"multipleOf": 0}, "multipleOf that must be above 0"),
    "a large constant": ({"const": 2**53 + 1}, "const with a number that must be within"),
    "depth": ({"default": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}, "at most 32 levels deep"),
    "a large list for a constant": ({"const": [0] * 5000}, "enum values that must sum up to at most 5000, got 5001"),
    "a $ref": ({"$ref": "#/$defs/" + "a" * 1000, "$defs": {"a" * 1000: {}}}, "$ref that must have at most 1000"),
    "bytes": ({"description": "x" * 65536}, "at most 65536 bytes"),
}


@pytest.mark.parametrize(("schema", "words"), TOO_MUCH.values(), ids=TOO_MUCH.keys())
def test_a_schema_beyond_a_bound_is_refused_by_keyword_and_number(schema: dict[str, Any], words: str) -> None:
    assert words in refused(schema)
    assert len(refused(schema)) < 180


def test_the_place_is_a_json_pointer() -> None:
    schema = {"properties": {"a/b": {"items": {"anyOf": [True, {"minItems": 9999}]}}}}
    assert refused(schema).endswith("(at #/properties/a~1b/items/anyOf/1).")
    assert len(refused({"properties": {"a" * 900: {"minItems": 9999}}})) < 180


@pytest.mark.parametrize(
    "reference",
    ["#/default", "#/properties/b/const", "#/properties/c/enum/0", "#/examples/0", "#/$defs/a", "#/x-mine/deep"],
)
def test_a_reference_hides_nothing(reference: str) -> None:
    bomb = {"type": "string", "pattern": "((a{0,30}){0,30}){0,30}"}
    schema = {
        "properties": {"a": {"$ref": reference}, "b": {"const": bomb}, "c": {"enum": [bomb]}},
        "default": bomb,
        "examples": [bomb],
        "$defs": {"a": bomb},
        "x-mine": {"deep": bomb},
    }
    assert "nested repeats must multiply to at most 2000, got 27000" in refused(schema)


@pytest.mark.parametrize(
    "reference",
    ["#foo", "other.json", "https://example.com/s", "#/nowhere", "#/properties/a/9", "", 5, None, {}, "#/anyOf/x"],
)
def test_a_reference_that_leads_nowhere_is_refused(reference: object) -> None:
    assert "$ref that" in refused({"properties": {"a": {"$ref": reference}}, "anyOf": [{}]})


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"anyOf": [{"type": "string"}, {"$ref": "#"}]},
        {"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#/$defs/b"}]}, "b": {"$ref": "#/$defs/a"}}},
    ],
)
def test_a_reference_to_itself_is_refused(schema: dict[str, Any]) -> None:
    assert "leads back to itself" in refused(schema)


@pytest.mark.parametrize(
    "keyword", ["contains", "dependentRequired", "dependentSchemas", "if", "not", "uniqueItems", "$dynamicRef"]
)
def test_a_keyword_that_cannot_be_followed_is_named(keyword: str) -> None:
    value: object = {"const": 5} if keyword == "not" else True
    assert refused({"items": {keyword: value}}) == f"has {keyword}, which cannot be followed (at #/items)."


@pytest.mark.parametrize(
    ("keyword", "meant"),
    [
        ("maxlength", "maxLength"),
        ("max_length", "maxLength"),
        ("minItem", "minItems"),
        ("additonalProperties", "additionalProperties"),
        ("Required", "required"),
        ("requires", "required"),
        ("enums", "enum"),
        ("ref", "$ref"),
        ("max", "maximum"),
        ("gt", "exclusiveMinimum"),
    ],
)
def test_a_misspelt_keyword_is_not_taken_for_an_annotation(keyword: str, meant: str) -> None:
    assert f"is {meant} meant?" in refused({"properties": {"a": {keyword: 5}}})


def test_annotations_are_dropped() -> None:
    annotated = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "https://example.com/a",
        "$comment": "c",
        "title": "t",
        "description": "d",
        "default": "x",
        "examples": ["x"],
        "deprecated": True,
        "readOnly": True,
        "nullable": True,
        "contentEncoding": "base64",
        "format": "password",
        "x-order": 1,
        "x-guidance": {"lenient": True, "whitespace_flexible": True},
        "widget": "textarea",
        "note": "n",
        "enumNames": ["a"],
        "uniqueItems": False,
        "type": "string",
    }
    assert check_schema(annotated) == {"type": "string"}


def test_a_oneof_whose_branches_exclude_each_other_is_an_anyof() -> None:
    cat = {"type": "object", "properties": {"kind": {"const": "cat"}}, "required": ["kind"]}
    dog = {"type": "object", "properties": {"kind": {"const": "dog"}}, "required": ["kind"]}
    for one, other in ((cat, dog), ({"type": "string"}, {"type": ["integer", "null"]}), ({"enum": [1]}, {"const": 2})):
        assert len(check_schema({"oneOf": [one, other]})["anyOf"]) == 2
    definitions = {"$defs": {"cat": cat, "dog": dog}}
    assert "anyOf" in check_schema({"oneOf": [{"$ref": "#/$defs/cat"}, {"$ref": "#/$defs/dog"}], **definitions})
    closed = {"type": "object", "properties": {"a": {}}, "required": ["a"], "additionalProperties": False}
    assert "anyOf" in check_schema({"oneOf": [closed, {"type": "object", "required": ["b"]}]})


def test_a_oneof_whose_branches_may_both_be_true_is_refused() -> None:
    for one, other in (
        ({"type": "integer"}, {"type": "number"}),
        ({"enum": [1, 2]}, {"const": 2.0}),
        ({"type": "object", "required": ["a"]}, {"type": "object", "required": ["b"]}),
        ({"properties": {"k": {"const": "a"}}}, {"properties": {"k": {"const": "b"}}}),
    ):
        assert "has oneOf, which cannot be followed because branches 0 and 1" in refused({"oneOf": [one, other]})


def test_a_discriminator_is_required_in_each_branch() -> None:
    def branch(kind: str) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {"kind": {"const": kind, "default": kind}, kind: {}},
            "required": [kind],
        }

    schema = {
        "oneOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}],
        "discriminator": {"propertyName": "kind"},
        "$defs": {"a": branch("a"), "b": branch("b")},
    }
    made = check_schema(schema)
    assert [one["required"] for one in made["$defs"].values()] == [["b", "kind"], ["a", "kind"]]
    assert "has oneOf" in refused({key: value for key, value in schema.items() if key != "discriminator"})


def test_an_object_is_closed_where_it_stands_alone() -> None:
    one = {"type": "object", "properties": {"a": {"type": "integer"}}}
    assert check_schema(one)["additionalProperties"] is False
    assert "additionalProperties" not in check_schema({"type": "object"})
    two = check_schema({"allOf": [one, {"properties": {"b": {}}, "required": ["b"]}]})
    assert [set(branch["properties"]) for branch in two["allOf"]] == [{"a", "b"}, {"a", "b"}]


def test_the_comparing_of_branches_is_bounded() -> None:
    unions = [{"anyOf": [{"const": 20 * n + i} for i in range(20)]} for n in range(20)]
    assert "oneOf with too many branches to compare" in refused({"oneOf": unions})
    assert "anyOf" in check_schema({"oneOf": [{"const": i} for i in range(bounds.MAX_ALTERNATIVES)]})


def test_branches_that_share_many_constants_or_names_are_compared_in_bounded_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[object] = []
    canonical = one_of._canonical

    def _counted(value: Any) -> bytes:
        written.append(value)
        return canonical(value)

    monkeypatch.setattr(one_of, "_canonical", _counted)
    shared = {"$defs": {"a": {"enum": list(range(1000))}}}
    check_schema(shared | {"oneOf": [{"$ref": "#/$defs/a", "const": i} for i in range(99)]})
    assert len(written) == 1000 + 99
    named = {"type": "object", "required": [f"{i:04d}" for i in range(1000)]}
    branches = [{"$ref": "#/$defs/a", "properties": {"0999": {"const": i}}} for i in range(50)]
    assert "oneOf with too many branches to compare" in refused({"$defs": {"a": named}, "oneOf": branches})
    many = {"properties": {f"p{i}": {"oneOf": [{"const": i} for i in range(99)]} for i in range(6)}}
    assert "oneOf with too many branches to compare" in refused(many)


def test_names_that_each_of_many_subschemas_repeats_are_bounded() -> None:
    branches: list[dict[str, object]] = [{"properties": {"a": {}}} for _ in range(199)]
    names = {"required": [f"{i:04d}" for i in range(1000)]}
    assert "names of properties in subschemas that apply together" in refused({"allOf": [names, *branches]})
    long: dict[str, object] = {"properties": {f"{i:04d}": {} for i in range(400)}}
    others = {"allOf": [long, *[{"additionalProperties": {"type": "string"}}] * 13]}
    assert "characters of names that additionalProperties excludes" in refused(others)


def test_every_bound_is_itself_allowed() -> None:
    check_schema({"maxItems": bounds.MAX_ITEMS, "maxLength": bounds.MAX_LENGTH, "multipleOf": bounds.MAX_MULTIPLE})
    check_schema({"properties": {f"p{i}": {"type": "integer"} for i in range(bounds.MAX_OBJECT_PROPERTIES)}})
    check_schema({"const": "a" * bounds.MAX_CONSTANT_CHARS, "pattern": "a" * bounds.MAX_PATTERN_CHARS})
    check_schema({"minimum": -(2**63), "maximum": 2**63 - 1})


ODD: tuple[object, ...] = (
    None,
    True,
    False,
    5,
    -1.5,
    1e300,
    "x",
    "#",
    [],
    [1],
    ["a"],
    [[]],
    [{}],
    [True, {}],
    {},
    {"a": 1},
    {"a": {}},
    {"": []},
)
ODD_PLACES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "alone": lambda node: node,
    "a property": lambda node: {"properties": {"a": node}, "additionalProperties": node},
    "combined": lambda node: {"allOf": [node, {"properties": {"b": True}}], "minimum": 1},
    "beside": lambda node: {"type": "object", "anyOf": [True, {}], "properties": {"a": {}}} | node,
    "a branch": lambda node: {
        "oneOf": [node, {"type": "null"}, {"properties": {"b": {"const": 1}}, "required": ["b"]}]
    },
    "names": lambda node: {"propertyNames": node},
    "a definition": lambda node: {"$ref": "#/$defs/a", "items": {"$ref": "#/$defs/a"}, "$defs": {"a": node}},
    "with a type": lambda node: {"type": "string", "format": "date", "discriminator": {"propertyName": "a"}} | node,
}


@pytest.mark.parametrize("place", ODD_PLACES.values(), ids=ODD_PLACES.keys())
def test_no_value_of_any_keyword_does_more_than_be_refused(place: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    for keyword in sorted(FOLLOWED | REFUSED | ANNOTATIONS):
        for value in ODD:
            schema = place({keyword: value})
            try:
                assert isinstance(check_schema(schema), dict)
            except PydanticCustomError:
                continue
            except Exception as error:
                raise AssertionError(schema) from error
