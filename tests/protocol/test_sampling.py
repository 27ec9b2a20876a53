"""The bounds of every field that both generation routes share, and what the fields mean together."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from protocol.chat.request import ChatCompletionRequest
from protocol.errors import Fault, TwowireError
from protocol.validation.parse import parse_request

NO_VALUE_FITS: list[object] = [True, "0.7", [], {}, [0.5]]
NOT_FLAGS: list[object] = [1, 0, "true", []]


def chat(**fields: Any) -> ChatCompletionRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    return parse_request(ChatCompletionRequest, orjson.dumps(body))


def refused(**fields: Any) -> TwowireError:
    with pytest.raises(TwowireError) as caught:
        chat(**fields)
    return caught.value


def schema_format(schema: object) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("temperature", [0, 0.7, 2], [-0.1, 2.1, 1e300]),
        ("top_p", [0, 0.001, 1], [-0.1, -1, 1.1]),
        ("min_p", [0, 0.5, 1], [-0.1, 1.1]),
        ("top_k", [-1, 0, 50], [-2, 2**31, 2**63]),
        ("n", [1, 128], [0, -1, 129, 2**63]),
        ("seed", [-(2**63), -1, 0, 2**63 - 1], [2**63]),
        ("frequency_penalty", [-2, 0, 2], [-2.1, 2.1]),
        ("presence_penalty", [-2, 0, 2], [-2.1, 2.1]),
        ("repetition_penalty", [0.1, 1, 10], [0, -1, 10.1]),
        ("max_tokens", [1, 2**31 - 1], [0, -1, 2**31, 2**63]),
        ("min_tokens", [0, 5], [-1, 2**63]),
    ],
)
def test_numbers_have_bounds(name: str, inside: list[float], outside: list[float]) -> None:
    for number in inside:
        assert getattr(chat(**{name: number}), name) == number
    for number in outside:
        error = refused(**{name: number})
        assert (error.fault, error.param) == (Fault.INVALID_VALUE, name)
        assert f"got {number!r}." in error.message or f"got {float(number)!r}." in error.message
    for value in NO_VALUE_FITS:
        error = refused(**{name: value})
        assert (error.fault, error.param) == (Fault.INVALID_TYPE, name)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "min_tokens", "n", "seed", "top_k"])
def test_a_whole_float_is_an_integer(name: str) -> None:
    value = getattr(chat(**{name: 8.0}), name)
    assert (value, type(value)) == (8, int)
    assert refused(**{name: 8.5}).fault is Fault.INVALID_TYPE


def test_whole_floats_are_token_ids() -> None:
    ids = chat(stop_token_ids=[1.0, 2, 3.0]).stop_token_ids
    assert (ids, {type(one) for one in ids or ()}) == ([1, 2, 3], {int})
    assert refused(stop_token_ids=[1.0, 2.5]).param == "stop_token_ids[1]"


def test_the_bound_is_in_the_message() -> None:
    assert refused(temperature=3.5).message == "temperature must be at most 2, got 3.5."


@pytest.mark.parametrize("name", ["max_tokens", "seed", "n", "top_k"])
def test_an_integer_beyond_64_bits_is_refused_by_its_size(name: str) -> None:
    raw = b'{"model":"m","messages":[{"role":"user","content":"a"}],"%b":99999999999999999999}' % name.encode()
    with pytest.raises(TwowireError, match="64 bits") as caught:
        parse_request(ChatCompletionRequest, raw)
    assert (caught.value.fault, caught.value.param) == (Fault.INVALID_VALUE, name)


@pytest.mark.parametrize("name", ["stream", "ignore_eos", "skip_special_tokens"])
def test_flags_are_true_or_false(name: str) -> None:
    assert getattr(chat(**{name: True}), name) is True
    assert getattr(chat(**{name: False}), name) is False
    for value in NOT_FLAGS:
        assert refused(**{name: value}).fault is Fault.INVALID_TYPE


def test_defaults_leave_the_choice_to_the_server() -> None:
    request = chat()
    assert (request.stream, request.ignore_eos, request.skip_special_tokens) == (False, False, True)
    assert request.temperature is None
    assert request.output_token_limit is None
    assert request.choice_count == 1
    assert request.stop_strings == []
    assert request.sampling.logit_bias is None


def test_null_flags_take_their_defaults() -> None:
    request = chat(stream=None, skip_special_tokens=None)
    assert (request.stream, request.skip_special_tokens) == (False, True)


def test_stop_is_one_string_or_a_few() -> None:
    assert chat(stop="\n").stop_strings == ["\n"]
    assert chat(stop=list("abcdefghijklmnop")).stop_strings == list("abcdefghijklmnop")
    assert chat(stop=[]).stop_strings == []


@pytest.mark.parametrize(
    ("stop", "param"),
    [
        ("", "stop"),
        ([""], "stop[0]"),
        (["a"] * 17, "stop"),
        (["a"] * 100_000, "stop"),
        ("x" * 1001, "stop"),
        (["a", "x" * 1001], "stop[1]"),
        ("a\x00", "stop"),
    ],
)
def test_stop_has_bounds(stop: object, param: str) -> None:
    error = refused(stop=stop)
    assert (error.fault, error.param) == (Fault.INVALID_VALUE, param)


def test_logit_bias_is_keyed_by_token_ids() -> None:
    assert chat(logit_bias={"0": -100, "50": 1.5}).sampling.logit_bias == {0: -100.0, 50: 1.5}
    for key in ("-1", "a", "", "1.0", "+1", " 1", "01", "٣", "²", "1" * 5000):
        error = refused(logit_bias={key: 1})
        assert error.fault is Fault.INVALID_VALUE
        assert len(error.message) < 200


def test_logit_bias_has_bounds() -> None:
    assert refused(logit_bias={"1": 100.5}).param == "logit_bias.1"
    assert refused(logit_bias={"1": -101}).fault is Fault.INVALID_VALUE
    assert refused(logit_bias={"1": True}).fault is Fault.INVALID_TYPE
    assert refused(logit_bias=[1]).fault is Fault.INVALID_TYPE
    biases = chat(logit_bias={str(i): 1 for i in range(1024)}).sampling.logit_bias
    assert biases is not None
    assert len(biases) == 1024
    assert "at most 1024 entries, got 5000" in refused(logit_bias={str(i): "x" for i in range(5000)}).message


@pytest.mark.parametrize(("name", "limit"), [("stop_token_ids", 128), ("allowed_token_ids", 4096)])
def test_token_ids_are_not_negative_and_not_too_many(name: str, limit: int) -> None:
    assert getattr(chat(**{name: [0, 7]}), name) == [0, 7]
    assert refused(**{name: [1, -1]}).param == f"{name}[1]"
    assert refused(**{name: [2**31]}).fault is Fault.INVALID_VALUE
    assert refused(**{name: [1.5]}).fault is Fault.INVALID_TYPE
    assert refused(**{name: [True]}).fault is Fault.INVALID_TYPE
    assert f"at most {limit} items" in refused(**{name: [1] * (limit + 1)}).message


def test_allowing_no_token_at_all_is_refused() -> None:
    assert refused(allowed_token_ids=[]).fault is Fault.INVALID_VALUE


def test_bad_words_have_bounds() -> None:
    assert chat(bad_words=["x"] * 128).bad_words == ["x"] * 128
    assert refused(bad_words=["x"] * 129).param == "bad_words"
    assert refused(bad_words=["ok", ""]).param == "bad_words[1]"
    assert refused(bad_words=["x" * 101]).param == "bad_words[0]"
    assert refused(bad_words=[-1]).fault is Fault.INVALID_TYPE


def test_min_tokens_above_the_limit_is_refused_with_both_numbers() -> None:
    assert chat(min_tokens=5, max_tokens=5).min_tokens == 5
    error = refused(min_tokens=10, max_tokens=5)
    assert (error.fault, error.param) == (Fault.INVALID_VALUE, "min_tokens")
    assert "10" in error.message
    assert "(5)" in error.message
    assert refused(min_tokens=10, max_tokens=50, max_completion_tokens=5).param == "min_tokens"


def test_stream_options_need_a_stream() -> None:
    assert chat(stream=True, stream_options={"include_usage": True}).include_usage
    assert not chat(stream=True, stream_options={"include_usage": None}).include_usage
    assert not chat(stream=True).include_usage
    for fields in ({}, {"stream": False}):
        error = refused(stream_options={"include_usage": True}, **fields)
        assert (error.fault, error.param) == (Fault.INVALID_VALUE, "stream_options")


def test_metadata_is_a_few_pairs_of_strings() -> None:
    assert chat(metadata={"a": "b"}).metadata == {"a": "b"}
    assert refused(metadata={str(i): "x" for i in range(17)}).param == "metadata"
    assert refused(metadata={"a": 1}).param == "metadata.a"
    assert refused(metadata={"a": "x" * 513}).fault is Fault.INVALID_VALUE
    assert refused(metadata={"k" * 65: "x"}).fault is Fault.INVALID_VALUE


def test_response_format_has_three_forms() -> None:
    for kind in ("text", "json_object"):
        response_format = chat(response_format={"type": kind}).response_format
        assert response_format is not None
        assert response_format.type == kind
    response_format = chat(response_format=schema_format({"type": "object"})).response_format
    assert response_format is not None
    assert response_format.json_schema is not None
    assert response_format.json_schema.definition == {"type": "object"}


@pytest.mark.parametrize(
    ("response_format", "fault", "param"),
    [
        ({}, Fault.MISSING_FIELD, "response_format.type"),
        ("json", Fault.INVALID_TYPE, "response_format"),
        ({"type": "xml"}, Fault.INVALID_VALUE, "response_format.type"),
        ({"type": "json_schema"}, Fault.MISSING_FIELD, "response_format.json_schema"),
        ({"type": "json_schema", "json_schema": {}}, Fault.MISSING_FIELD, "response_format.json_schema.name"),
        (
            {"type": "json_schema", "json_schema": {"name": "a b"}},
            Fault.INVALID_VALUE,
            "response_format.json_schema.name",
        ),
        (schema_format([]), Fault.INVALID_TYPE, "response_format.json_schema.schema"),
    ],
)
def test_a_wrong_response_format_is_named(response_format: object, fault: Fault, param: str) -> None:
    error = refused(response_format=response_format)
    assert (error.fault, error.param) == (fault, param)


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(depth - 1):
        schema = {"items": schema}
    return schema


BAD_SCHEMAS = {
    "33 deep": nested(33),
    "200 deep": nested(200),
    "too large": {"description": "x" * 65536},
    "a long pattern": {"type": "string", "pattern": "a" * 513},
    "a long pattern inside": {"properties": {"a": {"anyOf": [{"pattern": "a" * 513}]}}},
    "a long pattern as a key": {"patternProperties": {"a" * 513: {}}},
    "a pattern that is a number": {"pattern": 5},
    "a pattern that is an object": {"items": {"pattern": {}}},
    "a type that is a number": {"type": 5},
    "a type that is unknown": {"type": "text"},
    "types with an unknown one": {"type": ["string", {}]},
    "too many enum values": {"enum": list(range(5001))},
    "too many properties": {"properties": {str(i): {} for i in range(5001)}},
    "properties that are a list": {"properties": []},
    "an enum that is an object": {"enum": {}},
}


@pytest.mark.parametrize("schema", BAD_SCHEMAS.values(), ids=BAD_SCHEMAS.keys())
def test_a_schema_that_is_wrong_or_costly_is_refused(schema: dict[str, Any]) -> None:
    error = refused(response_format=schema_format(schema))
    assert (error.fault, error.param) == (Fault.INVALID_SCHEMA, "response_format.json_schema.schema")
    assert len(error.message) < 200


GOOD_SCHEMAS = {
    "32 deep": nested(32),
    "a property called pattern": {"properties": {"pattern": {"type": "object"}, "type": {"type": "string"}}},
    "data that looks like keywords": {"enum": [{"pattern": 5, "type": 7}], "default": {"type": 5}},
    "a reference to itself": {"$defs": {"n": {"items": {"$ref": "#/$defs/n"}}}, "$ref": "#/$defs/n"},
    "several types": {"type": ["string", "null"], "pattern": "^a+$"},
    "boolean schemas": {"properties": {"a": True}, "additionalProperties": False},
}


@pytest.mark.parametrize("schema", GOOD_SCHEMAS.values(), ids=GOOD_SCHEMAS.keys())
def test_an_ordinary_schema_is_accepted(schema: dict[str, Any]) -> None:
    assert chat(response_format=schema_format(schema)).response_format is not None
