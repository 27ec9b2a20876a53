"""Schemas as clients' libraries write them are taken, and say what their author meant."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import uuid
from typing import Annotated, Any, Literal

import pytest
from pydantic import AnyUrl, BaseModel, ConfigDict, Field, SecretStr, TypeAdapter
from pydantic_core import PydanticCustomError

from protocol.json_schema import check_schema
from tests.grammars import Grammar


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Address(BaseModel):
    street: str = Field(min_length=1, max_length=20, description="Without the number")
    number: Annotated[int, Field(ge=1, le=999)] | None = None


class Person(BaseModel):
    """Nearly all that an ordinary model has."""

    model_config = ConfigDict(extra="forbid", title="A person")
    name: Annotated[str, Field(pattern=r"^[A-Z][a-z]{1,10}$")]
    color: Color = Color.RED
    mood: Literal["good", "bad"] | None = None
    address: Address
    others: list[Address] = Field(default_factory=list, max_length=2)
    scores: dict[str, float] = Field(default_factory=dict, examples=[{"a": 1.5}])
    by_color: dict[Color, int] = {}
    pair: tuple[int, bool] = (1, True)
    price: Annotated[float, Field(gt=0, lt=100, multiple_of=0.01)] = 1
    born: dt.date | None = None
    seen: dt.datetime | None = None
    id: uuid.UUID | None = None
    secret: SecretStr | None = None
    raw: bytes | None = None
    page: AnyUrl | None = None


class Node(BaseModel):
    value: int
    children: list[Node] = []


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = Field(ge=1, le=9)


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    friend: Pet | None = None


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]


class Owner(BaseModel):
    pet: Pet
    extra: dict[str, Any] = {}


MODELS: list[type[BaseModel]] = [Person, Address, Node, Owner]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
@pytest.mark.parametrize("mode", ["validation", "serialization"])
def test_what_is_sampled_from_a_pydantic_model_is_one(
    model: type[BaseModel], mode: Literal["validation", "serialization"]
) -> None:
    schema = check_schema(model.model_json_schema(mode=mode))
    answers = [answer for seed in range(20) if (answer := Grammar(schema).sample(seed, 400)) is not None]
    assert answers
    for answer in answers:
        model.model_validate_json(answer)


@pytest.mark.parametrize(
    ("annotation", "right", "wrong"),
    [
        (decimal.Decimal, '"1.5"', "null"),
        (dt.time, '"10:00:00Z"', '"10"'),
        (dt.timedelta, '"P1D"', '"1"'),
        (dict[uuid.UUID, int], '{"2eb8aa08-aa98-11ea-b4aa-73b441d16380":1}', '{"a":1}'),
        (dict[dt.date, int], '{"2024-02-29":1}', '{"2023-02-29":1}'),
        (dict[Annotated[str, Field(min_length=2)], int], '{"ab":1}', '{"a":1}'),
        (dict[Literal["a", "b"], int], '{"a":1}', '{"c":1}'),
        (Annotated[dict[str, int], Field(min_length=1, max_length=2)], '{"a":1}', "{}"),
        (tuple[int, ...], "[1,2]", '["a"]'),
        (Literal[1, "a", None], "null", "2"),
    ],
    ids=str,
)
def test_a_type_of_python_is_understood(annotation: Any, right: str, wrong: str) -> None:
    grammar = Grammar(check_schema(TypeAdapter(annotation).json_schema()))
    assert grammar.accepts(right)
    assert not grammar.accepts(wrong)


def test_the_pattern_that_pydantic_writes_for_a_decimal_is_followed() -> None:
    """As of pydantic 2.12: a lookahead that wants a digit somewhere."""
    grammar = Grammar(check_schema({"type": "string", "pattern": r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"}))
    assert all(map(grammar.accepts, ('"1"', '"-01.50"', '".5"')))
    assert not any(map(grammar.accepts, ('"-"', '"."', '""', '"+."', '"a"')))


def test_a_set_is_refused_by_name() -> None:
    schema = TypeAdapter(dict[str, set[str]]).json_schema()
    with pytest.raises(PydanticCustomError, match=r"has uniqueItems, which cannot be followed \(at #/additionalProp"):
        check_schema(schema)


# What the JavaScript libraries write for z.object({…}), by version and converter.
ZOD: dict[str, dict[str, Any]] = {
    "zod 4: toJSONSchema": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "id": {"type": "integer", "minimum": -9007199254740991, "maximum": 9007199254740991},
            "tags": {"type": "object", "propertyNames": {"type": "string"}, "additionalProperties": {"type": "number"}},
            "never": {"not": {}},
            "tuple": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}]},
            "either": {"anyOf": [{"type": "string", "const": "a"}, {"type": "null"}]},
            "email": {"type": "string", "format": "email"},
        },
        "required": ["id", "either"],
        "additionalProperties": False,
    },
    "zod-to-json-schema, as OpenAI's library has it": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {
            "a": {"type": ["string", "null"]},
            "b": {"type": "number", "exclusiveMinimum": True, "minimum": 0},
            "pair": {"type": "array", "minItems": 2, "maxItems": 2, "items": [{"type": "number"}, {"type": "string"}]},
            "again": {"$ref": "#/definitions/x_properties_a"},
            "same": {"$ref": "#/properties/a"},
        },
        "required": ["a", "b", "pair", "again", "same"],
        "additionalProperties": False,
        "definitions": {"x_properties_a": {"type": ["string", "null"]}, "unused": {"if": {}, "contains": {}}},
    },
    "OpenAPI 3.0": {
        "type": "object",
        "properties": {
            "a": {"type": "string", "nullable": True, "example": "x", "xml": {"name": "A"}, "format": "byte"},
            "n": {
                "type": "integer",
                "format": "int64",
                "minimum": -9223372036854775808,
                "maximum": 9223372036854775807,
            },
            "child": {"allOf": [{"$ref": "#/definitions/Base"}], "description": "inherits"},
            "more": {
                "allOf": [{"$ref": "#/definitions/Base"}, {"type": "object", "properties": {"y": {"type": "boolean"}}}]
            },
        },
        "required": ["child"],
        "definitions": {"Base": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}},
        "externalDocs": {"url": "https://example.com"},
    },
    "OpenAI's own example": {
        "type": "object",
        "properties": {
            "steps": {"type": "array", "items": {"$ref": "#/$defs/step"}},
            "final_answer": {"type": "string"},
        },
        "$defs": {
            "step": {
                "type": "object",
                "properties": {"explanation": {"type": "string"}, "output": {"type": "string"}},
                "required": ["explanation", "output"],
                "additionalProperties": False,
            }
        },
        "required": ["steps", "final_answer"],
        "additionalProperties": False,
    },
}
RIGHT: dict[str, tuple[str, str]] = {
    "zod 4: toJSONSchema": ('{"id":1,"tags":{"a":1},"either":null}', '{"id":1,"either":"b"}'),
    "zod-to-json-schema, as OpenAI's library has it": (
        '{"a":null,"b":1,"pair":[1,"x"],"again":"s","same":"t"}',
        '{"a":null,"b":0,"pair":[1,"x"],"again":"s","same":"t"}',
    ),
    "OpenAPI 3.0": ('{"a":"x","n":5,"child":{"x":1},"more":{"x":1,"y":true}}', '{"child":{}}'),
    "OpenAI's own example": ('{"steps":[{"explanation":"e","output":"o"}],"final_answer":"f"}', '{"steps":[]}'),
}


@pytest.mark.parametrize("name", ZOD)
def test_a_schema_of_another_library_is_taken(name: str) -> None:
    grammar = Grammar(check_schema(ZOD[name]))
    right, wrong = RIGHT[name]
    assert grammar.accepts(right)
    assert not grammar.accepts(wrong)
