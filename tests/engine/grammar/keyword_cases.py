"""Schemas for each keyword that answers follow, with answers that satisfy them and answers that do not."""

from __future__ import annotations

from typing import Any, NamedTuple


class Case(NamedTuple):
    """`right` and `wrong` are whole answers; `right` has none that are allowed but not chosen."""

    keyword: str
    schema: dict[str, Any]
    right: tuple[str, ...]
    wrong: tuple[str, ...]


def _closed(properties: dict[str, Any], required: tuple[str, ...] | None = None) -> dict[str, Any]:
    names = list(properties if required is None else required)
    return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}


def _format(name: str, right: tuple[str, ...], wrong: tuple[str, ...]) -> Case:
    quoted = [tuple(f'"{text}"' for text in texts) for texts in (right, wrong)]
    return Case("format", {"type": "string", "format": name}, *quoted)


def _pattern(pattern: str, right: tuple[str, ...], wrong: tuple[str, ...]) -> Case:
    return Case("pattern", {"type": "string", "pattern": pattern}, right, wrong)


_INTEGER, _STRING = {"type": "integer"}, {"type": "string"}
_TREE = _closed({"v": _INTEGER, "c": {"type": "array", "items": {"$ref": "#/$defs/t"}, "maxItems": 2}})

CASES = [
    Case("type", {"type": "string"}, ('"a"', '"é🙂"', '"\\n\\"\\\\"'), ("1", "null", '"a')),
    Case("type", {"type": "integer"}, ("1", "-3", "0"), ("1.5", '"1"', "01", "1 ")),
    Case("type", {"type": "number"}, ("1", "1.5", "-2e3"), ('"1"', ".5")),
    Case("type", {"type": "boolean"}, ("true", "false"), ("1", '"true"')),
    Case("type", {"type": "null"}, ("null",), ("0", '""')),
    Case("type", {"type": "array"}, ("[]", '[1,"a"]'), ("{}", "[1, 2]")),
    Case("type", {"type": "object"}, ("{}", '{"a":[1]}'), ("[]", '{"a": 1}')),
    Case("type", {"type": ["string", "null"]}, ('"a"', "null"), ("1",)),
    Case("enum", {"enum": ["a", 'b"q', "ü"]}, ('"a"', '"b\\"q"', '"ü"'), ('"c"', "1")),
    Case(
        "enum", {"enum": [1, None, True, {"a": [1, "x"]}]}, ("1", "null", '{"a":[1,"x"]}'), ("2", "false", '{"a":[]}')
    ),
    Case("enum", {"enum": ["a", 1], "type": "string"}, ('"a"',), ("1",)),
    Case("const", {"const": "x"}, ('"x"',), ('"y"', "1")),
    Case("const", {"const": {"a": 1.5}}, ('{"a":1.5}',), ('{"a":2}', "{}")),
    Case(
        "properties", _closed({"a": _INTEGER, 'b"\n': _STRING}, ()), ("{}", '{"b\\"\\n":"x"}'), ('{"a":"x"}', '{"c":1}')
    ),
    Case("properties", {"properties": {"a": _INTEGER}}, ('{"a":1}', "[]"), ('{"a":"x"}',)),
    Case("properties", _closed({"a": False, "b": True}, ("b",)), ('{"b":[]}',), ('{"a":1,"b":1}',)),
    Case(
        "required", _closed({"a": _INTEGER, "b": _STRING}, ("b",)), ('{"b":"x"}', '{"a":1,"b":"x"}'), ("{}", '{"a":1}')
    ),
    Case("required", {"type": "object", "required": ["z"]}, ('{"z":1}', '{"z":1,"a":2}'), ("{}", '{"a":1}')),
    Case("required", {"type": "object", "properties": {"a": _INTEGER}, "required": ["z"]}, ('{"z":1}',), ('{"a":1}',)),
    Case(
        "additionalProperties", {"type": "object", "additionalProperties": _INTEGER}, ('{"a":1,"b":2}',), ('{"a":"x"}',)
    ),
    Case(
        "additionalProperties",
        {"type": "object", "properties": {"key": _STRING, "kex": True}, "additionalProperties": _INTEGER},
        ('{"key":"s","k":1}', '{"keyy":2,"":3}', '{"kex":"s","ü":1}'),
        ('{"ke":"s"}', '{"key":1}', '{"k\\u0065y":1}', '{"\\u006bey":1}'),
    ),
    Case(
        "patternProperties",
        {"patternProperties": {"^x": _INTEGER, "^y": _STRING}},
        ('{"x1":1,"y":"a"}',),
        ('{"x1":"a"}',),
    ),
    Case(
        "patternProperties",
        {"type": "object", "properties": {"x1": {"minimum": 2}}, "patternProperties": {"^x": _INTEGER}},
        ('{"x1":3}', '{"x2":0}'),
        ('{"x1":1}', '{"x1":"a"}', '{"\\u0078":"a"}'),
    ),
    Case(
        "propertyNames", {"type": "object", "propertyNames": {"pattern": "^[a-c]+$"}}, ('{"a":1}', "{}"), ('{"d":1}',)
    ),
    Case("propertyNames", {"type": "object", "propertyNames": {"enum": ["a", "b"]}}, ('{"a":1}', "{}"), ('{"c":1}',)),
    Case("propertyNames", {"type": "object", "propertyNames": {"minLength": 2}}, ('{"ab":1}', "{}"), ('{"a":1}',)),
    Case("minProperties", {"type": "object", "minProperties": 1}, ('{"a":1}',), ("{}",)),
    Case(
        "minProperties",
        {"type": "object", "properties": {"a": _INTEGER, "b": _INTEGER}, "minProperties": 1},
        ('{"a":1}', '{"b":1}', '{"a":1,"b":2}'),
        ("{}",),
    ),
    Case("maxProperties", {"type": "object", "maxProperties": 2}, ("{}", '{"a":1,"b":2}'), ('{"a":1,"b":2,"c":3}',)),
    Case(
        "unevaluatedProperties", {"properties": {"a": True}, "unevaluatedProperties": False}, ('{"a":1}',), ('{"b":1}',)
    ),
    Case("items", {"type": "array", "items": _INTEGER}, ("[1,2]", "[]"), ('["a"]',)),
    Case("items", {"type": "array", "items": False}, ("[]",), ("[1]",)),
    Case("prefixItems", {"type": "array", "prefixItems": [_INTEGER, _STRING]}, ('[1,"a",null]', "[1]"), ('["a"]',)),
    Case("additionalItems", {"items": [_INTEGER], "additionalItems": False}, ("[1]", "[]"), ('["a"]', "[1,2]")),
    Case("unevaluatedItems", {"prefixItems": [_INTEGER], "unevaluatedItems": False}, ("[1]",), ('["a"]', "[1,2]")),
    Case("minItems", {"type": "array", "items": _INTEGER, "minItems": 2}, ("[1,2]", "[1,2,3]"), ("[1]", "[]")),
    Case("maxItems", {"type": "array", "items": _INTEGER, "maxItems": 2}, ("[1,2]", "[]"), ("[1,2,3]",)),
    Case("uniqueItems", {"type": "array", "items": _INTEGER, "uniqueItems": False}, ("[1,1]",), ('["a"]',)),
    Case("minLength", {"type": "string", "minLength": 2}, ('"ab"', '"🙂🙂"', '"\\n\\n"'), ('"a"', '"🙂"', '"\\n"')),
    Case(
        "maxLength", {"type": "string", "maxLength": 2}, ('"ab"', '"🙂🙂"', '""', '"\\n\\n"'), ('"abc"', '"\\n\\n\\n"')
    ),
    Case("maxLength", {"pattern": "^a+$", "maxLength": 3}, ('"aaa"', "1"), ('"aaaa"', '"b"', '""')),
    _pattern("b", ('"abc"',), ('"ac"',)),
    _pattern("^a|b$", ('"ax"', '"xb"'), ('"xa"',)),
    _pattern(r"^\d{3}\/\w+\s\-$", ('"123/a_1 -"',), ('"12/a -"', '"١٢٣/a -"', '"123/é -"')),
    _pattern(r"^a.b$", ('"axb"',), ('"a\\nb"', '"ab"')),
    _pattern(r"^[[a&&b]+$", ('"[a&b"',), ('"c"',)),
    _pattern(r'^"\\$', ('"\\"\\\\"',), ('"a"',)),
    _pattern(r"^(?<year>\d+?)(?:x|\u0041)$", ('"1x"', '"12A"'), ('"x"', '"1B"')),
    _format(
        "date", ("2024-02-29", "2000-02-29", "2023-12-31"), ("2023-02-29", "1900-02-29", "2024-13-01", "2024-04-31")
    ),
    _format(
        "date-time", ("2024-02-29T10:00:00Z", "2023-12-31T23:59:59.5+01:00"), ("2024-01-01T10:00:60Z", "2024-01-01")
    ),
    _format("time", ("10:00:00Z", "23:59:59.25-08:00"), ("25:00:00Z", "10:00:60Z", "10:00")),
    _format("duration", ("P1D", "PT5M", "P1Y2M3DT4H"), ("1D", "P")),
    _format("email", ("a@b.de", "a.b+c@d-e.org"), ("a", "@b.de", "a@")),
    _format("hostname", ("a.b", "localhost"), ("a..b", "-a")),
    _format("ipv4", ("1.2.3.4", "255.255.255.255"), ("1.2.3", "1.2.3.256", "01.2.3.4")),
    _format("ipv6", ("::1", "2001:db8::ff00:42:8329"), ("1", "1::2::3")),
    _format("uri", ("https://example.com/a?b=c#d", "urn:a:b"), ("a b", "/a")),
    _format("uuid", ("2eb8aa08-aa98-11ea-b4aa-73b441d16380",), ("2eb8", "zeb8aa08-aa98-11ea-b4aa-73b441d16380")),
    _format("password", ("anything at all",), ()),
    Case("minimum", {"type": "integer", "minimum": 5}, ("5", "10"), ("4", "-1")),
    Case("minimum", {"minimum": 0.5, "maximum": 1}, ("0.5", "0.75", "1", '"a"'), ("0.4", "1.1", "5")),
    Case("maximum", {"type": "integer", "minimum": -3, "maximum": 17}, ("-3", "17", "0"), ("-4", "18")),
    Case("maximum", {"type": "integer", "maximum": 2**63 - 1}, ("5", "-5"), ("9223372036854775808",)),
    Case("exclusiveMinimum", {"type": "number", "exclusiveMinimum": 0}, ("0.1", "3"), ("0", "-1")),
    Case("exclusiveMinimum", {"type": "integer", "minimum": 0, "exclusiveMinimum": True}, ("1",), ("0",)),
    Case("exclusiveMinimum", {"type": "number", "exclusiveMinimum": 0, "maximum": 0.5}, ("0.1", "0.5"), ("0", "0.0")),
    Case("exclusiveMinimum", {"exclusiveMinimum": 1, "minimum": 1.25, "maximum": 1.5}, ("1.25", "1.5"), ("1", "1.2")),
    Case("exclusiveMaximum", {"type": "number", "minimum": -0.5, "exclusiveMaximum": 0}, ("-0.5", "-0.1"), ("0", "-0")),
    Case("exclusiveMaximum", {"type": "integer", "exclusiveMaximum": 10}, ("9", "-1"), ("10",)),
    Case("multipleOf", {"type": "integer", "multipleOf": 5, "minimum": 10, "maximum": 20}, ("15",), ("5", "12", "25")),
    Case("multipleOf", {"type": "number", "multipleOf": 0.01}, ("0.25", "1"), ("0.255",)),
    Case("allOf", {"allOf": [{"type": "integer"}, {"minimum": 5, "maximum": 7}]}, ("5",), ("4", '"a"', "null")),
    Case(
        "allOf",
        {
            "allOf": [
                {"properties": {"a": _INTEGER}, "required": ["a"]},
                {"type": "object", "properties": {"b": _STRING}},
            ]
        },
        ('{"a":1,"b":"x"}', '{"a":1}'),
        ('{"b":"x"}', '{"a":"x"}', '{"a":1,"b":1}'),
    ),
    Case("anyOf", {"anyOf": [_INTEGER, _STRING]}, ("1", '"a"'), ("null",)),
    Case("anyOf", {"type": "integer", "anyOf": [{"minimum": 10}, {"maximum": 0}]}, ("10", "0"), ("5", '"a"')),
    Case(
        "anyOf",
        {"type": "object", "properties": {"a": True, "b": True}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
        ('{"a":1}', '{"b":1}'),
        ("{}",),
    ),
    Case("oneOf", {"oneOf": [_INTEGER, _STRING]}, ("1", '"a"'), ("null",)),
    Case(
        "oneOf",
        {
            "oneOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}],
            "discriminator": {"propertyName": "k"},
            "$defs": {
                "a": {"type": "object", "properties": {"k": {"const": "a"}, "m": _INTEGER}, "required": ["m"]},
                "b": {"type": "object", "properties": {"k": {"const": "b"}, "n": _INTEGER}, "required": ["n"]},
            },
        },
        ('{"k":"a","m":1}', '{"k":"b","n":1}'),
        ('{"m":1}', '{"k":"b","m":1}', "{}"),
    ),
    Case("not", _closed({"a": {"not": {}}, "b": True}, ("b",)), ('{"b":1}',), ('{"a":1,"b":1}',)),
    Case("$ref", {"$ref": "#/$defs/a~1b%25", "$defs": {"a/b%": _INTEGER}}, ("1",), ('"a"',)),
    Case("$ref", {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": _INTEGER}}, ("1",), ('"a"',)),
    Case("$ref", _closed({"n": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}), ('{"n":{"n":null}}',), ('{"n":1}',)),
    Case("$ref", {"$ref": "#/$defs/t", "$defs": {"t": _TREE}}, ('{"v":1,"c":[{"v":2,"c":[]}]}',), ('{"v":1,"c":[1]}',)),
    Case(
        "$ref",
        _closed({"a": {"$ref": "#/definitions/x", "minimum": 5}}) | {"definitions": {"x": _INTEGER}},
        ('{"a":5}',),
        ('{"a":4}', '{"a":"x"}'),
    ),
    Case(
        "$ref",
        {
            "$ref": "#/$defs/A",
            "properties": {"y": _STRING},
            "required": ["y"],
            "$defs": {"A": {"type": "object", "properties": {"x": _INTEGER}}},
        },
        ('{"x":1,"y":"s"}', '{"y":"s"}'),
        ('{"x":1}', '{"x":"s","y":"s"}'),
    ),
    Case(
        "$ref",
        {"properties": {"a": _INTEGER, "b": {"$ref": "#/properties/a"}}, "required": ["b"]},
        ('{"b":1}',),
        ('{"b":"x"}',),
    ),
]
