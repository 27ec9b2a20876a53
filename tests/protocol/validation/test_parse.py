"""Bytes in, a request or one error out: what is wrong with the bytes, and how a field is named."""

from __future__ import annotations

import gzip
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.chat.request import ChatCompletionRequest
from protocol.completions.request import CompletionRequest
from protocol.errors import Fault, TwowireError, error_bytes
from protocol.validation.parse import parse_json_object, parse_request, request_from_object
from protocol.validation.request import is_nested_deeper

MINIMAL = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}

NOT_A_JSON_OBJECT = {
    "empty": b"",
    "blank": b" \n\t ",
    "16 MiB of spaces": b" " * (16 << 20),
    "list": b"[1]",
    "string": b'"x"',
    "null": b"null",
    "truncated": b'{"model":"m","messages":[',
    "trailing bytes": b"{} x",
    "two objects": b"{}{}",
    "trailing comma": b'{"a":1,}',
    "NaN": b'{"temperature":NaN}',
    "Infinity": b'{"temperature":Infinity}',
    "-Infinity": b'{"temperature":-Infinity}',
    "1e400": b'{"temperature":1e400}',
    "an integer of 5000 digits": b'{"seed":' + b"9" * 5000 + b"}",
    "lone high surrogate": b'{"model":"\\ud800"}',
    "lone low surrogate": b'{"model":"\\udc00"}',
    "raw NUL": b'{"model":"a\x00b"}',
    "NUL after the object": b"{}\x00",
    "byte order mark": b"\xef\xbb\xbf{}",
    "not UTF-8": b'{"model":"\xff"}',
    "Latin-1": '{"model":"é"}'.encode("latin-1"),
    "UTF-16": '{"model":"m"}'.encode("utf-16"),
    "UTF-8-encoded surrogate": b'{"model":"\xed\xa0\x80"}',
    "gzip": gzip.compress(b"{}"),
    "lists 100,000 deep": b'{"a":' + b"[" * 100_000,
    "lists without end": b"[" * (16 << 20),
    "objects 100,000 deep": b'{"a":' * 100_000,
    "deep, and closed": b'{"a":' * 1023 + b"1" + b"}" * 1023,
    "duplicate key": b'{"model":"a","model":"b"}',
    "duplicate key inside": b'{"model":"a","messages":[{"role":"user","role":"system"}]}',
    "duplicate key, escaped": b'{"model":"a","m\\u006fdel":"b"}',
}


@pytest.mark.parametrize("raw", NOT_A_JSON_OBJECT.values(), ids=NOT_A_JSON_OBJECT.keys())
def test_what_is_not_a_json_object_is_invalid_json(raw: bytes) -> None:
    with pytest.raises(TwowireError) as caught:
        parse_json_object(raw)
    assert caught.value.fault is Fault.INVALID_JSON
    assert caught.value.param is None
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b'{\n "a": x\n}', "line 2, column 7"),
        (b'{"a":"\xff"}', "byte 6"),
        (b'{"temp":1,"temp":2}', "'temp'"),
        (b"[]", "an empty list"),
        (b"", "empty"),
        (b'{"a":' * 2000, "nested too deeply"),
    ],
)
def test_the_message_says_where_or_what(raw: bytes, words: str) -> None:
    with pytest.raises(TwowireError, match=words):
        parse_json_object(raw)


def test_a_long_duplicate_key_is_cut() -> None:
    key = b"k" * 100_000
    with pytest.raises(TwowireError) as caught:
        parse_json_object(b'{"%b":1,"%b":2}' % (key, key))
    assert len(caught.value.message) < 200


def test_equal_keys_in_different_objects_are_fine() -> None:
    raw = b'{"a":{"k":1},"b":{"k":1},"k":[{"k":1},{"k":1}]}'
    assert parse_json_object(raw) == orjson.loads(raw)


def test_white_space_around_the_object_is_fine() -> None:
    assert parse_json_object(b' \r\n{"a" : 1}\n') == {"a": 1}


def test_unknown_fields_are_ignored_and_reported_in_order() -> None:
    request = parse_request(ChatCompletionRequest, orjson.dumps({**MINIMAL, "zeta": 1, "alpha": {"a": []}}))
    assert request.unknown_fields == ("alpha", "zeta")


def test_known_fields_that_change_nothing_are_not_reported() -> None:
    request = request_from_object(ChatCompletionRequest, {**MINIMAL, "service_tier": "auto", "tools": None})
    assert request.unknown_fields == ()


def test_the_object_given_is_left_as_it_was() -> None:
    body = {**MINIMAL, "temperature": None, "x": 1}
    before = orjson.dumps(body)
    request_from_object(ChatCompletionRequest, body)
    assert orjson.dumps(body) == before


def test_null_is_the_same_as_absent_for_every_optional_field() -> None:
    optional = ChatCompletionRequest.model_fields.keys() - MINIMAL.keys()
    with_nulls = request_from_object(ChatCompletionRequest, {**MINIMAL, **dict.fromkeys(optional)})
    assert with_nulls == request_from_object(ChatCompletionRequest, dict(MINIMAL))


def test_null_for_a_required_field_is_a_missing_field() -> None:
    with pytest.raises(TwowireError) as caught:
        request_from_object(ChatCompletionRequest, {**MINIMAL, "model": None})
    assert (caught.value.fault, caught.value.param) == (Fault.MISSING_FIELD, "model")


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        (
            {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": 5}]},
            "messages[1].content",
        ),
        ({"messages": [{"content": "a"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"stream": True, "stream_options": {"include_usage": "yes"}}, "stream_options.include_usage"),
        ({"stop": ["a", "b", 3]}, "stop[2]"),
        ({"stop": 3}, "stop"),
        ({"logit_bias": {"5": "x"}}, "logit_bias.5"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
            "response_format.json_schema.name",
        ),
    ],
)
def test_the_field_is_named_as_openai_names_it(changes: dict[str, Any], param: str) -> None:
    with pytest.raises(TwowireError) as caught:
        request_from_object(ChatCompletionRequest, {**MINIMAL, **changes})
    assert caught.value.param == param
    assert caught.value.message.startswith(param)


def test_text_of_the_prompt_is_never_repeated() -> None:
    secret = "the secret " * 1000
    for changes in (
        {"messages": secret},
        {"messages": [{"role": "user", "content": {"a": secret}}]},
        {"n": secret},
    ):
        with pytest.raises(TwowireError) as caught:
            request_from_object(ChatCompletionRequest, {**MINIMAL, **changes})
        assert "secret" not in caught.value.message


def test_nesting_is_counted_from_one() -> None:
    assert not is_nested_deeper(1, 0)
    assert is_nested_deeper([], 0)
    assert not is_nested_deeper([], 1)
    assert not is_nested_deeper({"a": [1]}, 2)
    assert is_nested_deeper({"a": [{}]}, 2)


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def bodies(model: type[ChatCompletionRequest] | type[CompletionRequest]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects whose keys are mostly those that matter, with any values."""
    names = sorted(model.model_fields.keys() | model.field_rules.keys())
    inner = [
        "role",
        "content",
        "type",
        "text",
        "tool_calls",
        "function",
        "name",
        "arguments",
        "schema",
        "1",
        "id",
    ]
    value = ANY_JSON | st.dictionaries(st.sampled_from(inner), ANY_JSON, max_size=4)
    return st.dictionaries(st.sampled_from(names) | st.text(max_size=8), value | st.lists(value, max_size=3))


def assert_only_client_errors(parse: Any) -> None:
    refused: TwowireError | None = None
    try:
        parse()
    except TwowireError as error:
        refused = error
    if refused is not None:
        assert 400 <= refused.fault.status < 500
        assert len(refused.message) < 400
        error_bytes(refused)  # can be sent


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_a_client_error(raw: bytes) -> None:
    assert_only_client_errors(lambda: parse_request(ChatCompletionRequest, raw))


@given(st.dictionaries(st.text(max_size=8), ANY_JSON, max_size=4), st.integers(0, 200))
def test_damaged_json_is_a_request_or_a_client_error(body: dict[str, Any], cut: int) -> None:
    try:
        raw = orjson.dumps({**MINIMAL, **body})
    except orjson.JSONEncodeError:  # a lone surrogate, or an integer beyond 64 bits
        return
    assert_only_client_errors(lambda: parse_request(ChatCompletionRequest, raw))
    assert_only_client_errors(lambda: parse_request(ChatCompletionRequest, raw[:cut] + raw[cut + 1 :]))


@given(bodies(ChatCompletionRequest), st.booleans())
def test_any_object_is_a_chat_or_a_client_error(body: dict[str, Any], complete: bool) -> None:
    assert_only_client_errors(
        lambda: request_from_object(ChatCompletionRequest, {**body, **MINIMAL} if complete else body)
    )


@given(bodies(CompletionRequest), st.booleans())
def test_any_object_is_a_completion_or_a_client_error(body: dict[str, Any], complete: bool) -> None:
    whole = {**body, "model": "m", "prompt": "p"} if complete else body
    assert_only_client_errors(lambda: request_from_object(CompletionRequest, whole))


@given(st.text(st.characters()), ANY_JSON)
def test_any_message_is_a_chat_or_a_client_error(role: str, content: Any) -> None:
    for one in (role, "user", "assistant", "tool"):
        message = {"role": one, "content": content, "tool_calls": content, "tool_call_id": "1"}
        body = {"model": "m", "messages": [message]}
        assert_only_client_errors(lambda body=body: request_from_object(ChatCompletionRequest, body))


def test_lone_surrogates_in_an_object_still_give_an_error_that_can_be_sent() -> None:
    for changes in ({"logit_bias": {"\ud800": 1.0}}, {"response_format": {"type": "\ud800"}}):
        with pytest.raises(TwowireError) as caught:
            request_from_object(ChatCompletionRequest, {**MINIMAL, **changes})
        error_bytes(caught.value)
