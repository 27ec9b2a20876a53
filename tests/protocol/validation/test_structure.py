"""How much structure a JSON text may hold: counted before it is parsed, outside of strings."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.channel.client_frames import FrameRefused, parse_frame
from protocol.chat.request import ChatCompletionRequest
from protocol.embeddings.embed import EmbeddingRequest
from protocol.errors import Fault, TwowireError
from protocol.validation.parse import parse_json_object, parse_request
from protocol.validation.structure import MAX_PARTS, MAX_VALUES, UNCHECKED_BYTES, excess_of

PARTS, VALUES = f"more than {MAX_PARTS} lists, objects and keys", f"more than {MAX_VALUES} values"


def many(item: bytes, count: int) -> bytes:
    return b'{"x":[' + b",".join([item] * count) + b"]}"


TOO_MUCH = {
    "lists": (many(b"[]", MAX_PARTS), PARTS),
    "objects": (many(b"{}", MAX_PARTS), PARTS),
    "objects with a key": (many(b'{"a":1}', MAX_PARTS // 2), PARTS),
    "keys": (b"{" + b",".join(b'"%d":1' % number for number in range(MAX_PARTS)) + b"}", PARTS),
    "nested lists": (many(b"[" * 500 + b"]" * 500, MAX_PARTS // 500), PARTS),
    "numbers": (many(b"1", MAX_VALUES + 2), VALUES),
    "strings": (many(b'"a"', MAX_VALUES + 2), VALUES),
    "lists beside strings": (many(rb'["\\","\""]', MAX_PARTS), PARTS),
    "16 MiB of brackets": (b'{"x":' + b"[]" * (8 << 20), PARTS),
    "16 MiB of commas": (b'{"x":[' + b"," * (16 << 20), VALUES),
}


@pytest.mark.parametrize(("raw", "words"), TOO_MUCH.values(), ids=TOO_MUCH.keys())
def test_too_much_structure_is_refused_with_the_bound(raw: bytes, words: str) -> None:
    with pytest.raises(TwowireError, match=words) as caught:
        parse_json_object(raw)
    assert caught.value.fault is Fault.BODY_TOO_LARGE


def test_it_is_refused_in_each_kind_of_request_and_in_a_frame() -> None:
    raw, words = TOO_MUCH["lists"]
    for model in (ChatCompletionRequest, EmbeddingRequest):
        with pytest.raises(TwowireError, match=words):
            parse_request(model, raw)
    with pytest.raises(FrameRefused, match=words) as caught:
        parse_frame(raw.decode())
    assert caught.value.error.fault is Fault.BODY_TOO_LARGE


ENOUGH: dict[str, Any] = {
    "a text of brackets and commas": "[{,:" * (1 << 20),
    "a text with quotes": '"[,' * (1 << 18) + "\\",
    "10,000 messages": [{"role": "user", "content": [{"type": "text", "text": "a, b"}]}] * 10_000,
    "as many token ids": list(range(MAX_VALUES - 10)),
    "2,048 texts with commas": ["a, b: [c]" * 300] * 2048,
}


@pytest.mark.parametrize("value", ENOUGH.values(), ids=ENOUGH.keys())
def test_text_is_no_structure_and_large_requests_are_fine(value: Any) -> None:
    body = {"x": value, "y": "\\"}
    raw = orjson.dumps(body)
    assert len(raw) > UNCHECKED_BYTES
    assert parse_json_object(raw) == body


def calls(*arguments: str) -> bytes:
    made = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": one}} for one in arguments]
    messages = [{"role": "assistant", "tool_calls": made}, {"role": "user", "content": "go on"}]
    return orjson.dumps({"model": "m", "messages": messages})


@pytest.mark.parametrize(
    "arguments",
    [
        ['{"x":[' + "[]," * (5 << 20) + "1]}"],
        ['{"x":[' + "[]," * 30_000 + "1]}"] * 20,
        ['"', '{"x":[' + "[]," * 300_000 + "1]}"],
    ],
)
def test_the_json_in_the_arguments_of_calls_is_bounded_too(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protocol.chat.messages._parsed_arguments", lambda text: pytest.fail("it was parsed"))
    with pytest.raises(
        TwowireError, match="messages has tool calls whose arguments hold more than 250000 li"
    ) as caught:
        parse_request(ChatCompletionRequest, calls(*arguments))
    assert (caught.value.fault, caught.value.param) == (Fault.INVALID_VALUE, "messages")


def test_calls_with_long_texts_are_fine() -> None:
    arguments = orjson.dumps({"path": "a.py", "text": "f({'a': [1, 2, 3]})\n" * 20_000}).decode()
    assert len(parse_request(ChatCompletionRequest, calls(arguments, arguments)).messages) == 2


def test_what_is_no_json_is_left_to_the_parser() -> None:
    for raw in (b'"' * (4 << 20), b'{"a":"' + b"[" * (1 << 20), b"\\" * (1 << 20) + b'"'):
        assert excess_of(raw) is None
        with pytest.raises(TwowireError) as caught:
            parse_json_object(raw)
        assert caught.value.fault is Fault.INVALID_JSON


# -- keys that are given twice: found without a second parse ----------------------------------------------------------

_CHARS = st.sampled_from('ab:"\\,{}[]\u00e9')
_WORDS = st.text(_CHARS, max_size=4)
_VALUES = st.recursive(
    _WORDS | st.integers(-3, 3) | st.floats(-2, 2) | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(_WORDS, inner), max_size=3).map(tuple),
    max_leaves=8,
)


def _spelt(value: Any, draw: Any) -> str:
    """JSON for `value`, in which a tuple of pairs is an object that may have a key twice, with odd spellings."""

    def space() -> str:
        return str(draw(st.sampled_from(["", "", " ", "\n"])))

    if isinstance(value, str):
        plain = json.dumps(value, ensure_ascii=draw(st.booleans()))
        return plain.replace(":", draw(st.sampled_from([":", "\\u003a", "\\u003A"])))
    if isinstance(value, tuple):
        members = [f"{_spelt(key, draw)}{space()}:{_spelt(inner, draw)}" for key, inner in value]
        return "{" + space() + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ("," + space()).join(_spelt(inner, draw) for inner in value) + "]"
    return json.dumps(value)


def _has_duplicate(value: Any) -> bool:
    if isinstance(value, tuple):
        keys = [key for key, _ in value]
        return len(set(keys)) < len(keys) or any(_has_duplicate(inner) for _, inner in value)
    return isinstance(value, list) and any(map(_has_duplicate, value))


@settings(max_examples=400, deadline=None)
@given(value=st.lists(st.tuples(_WORDS, _VALUES), max_size=4).map(tuple), data=st.data())
def test_a_key_given_twice_is_found_however_it_is_spelt(value: Any, data: st.DataObject) -> None:
    raw = _spelt(value, data.draw).encode()
    if _has_duplicate(value):
        with pytest.raises(TwowireError, match="given twice"):
            parse_json_object(raw)
    else:
        assert parse_json_object(raw) == json.loads(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":1,"a":"\\u003a"}',
        b'{"b":"\\u003A","a":1,"a":2}',
        b'{"\\u003a":1,"a":1,"a":2}',
        b'{"a":"x:y","a":"\\u003a\\u003a"}',
        b'{"x":' + b"[" * 300 + b'{"a":1,"a":2}' + b"]" * 300 + b"}",
    ],
)
def test_an_escaped_colon_hides_no_key(raw: bytes) -> None:
    with pytest.raises(TwowireError, match="given twice"):
        parse_json_object(raw)
